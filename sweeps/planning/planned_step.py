"""`PlannedStep`: the padded tokens and launches of a pack's steps, by the planner that plans them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import NamedTuple

import numpy as np

from portal.data.token_rows import TokenRow
from portal.forward.microbatch import SlotRows
from portal.forward.microbatch_plan import (
    MAX_FORWARD_TOKENS,
    LaunchCost,
    plan_microbatches,
    tokens_and_launches,
)
from sweeps.planning.workload import Work

SAMPLED_STEPS = 4


@dataclass(frozen=True)
class PlannedStep:
    """Means of a step: forwards, real and padded tokens, and launches as tokens that take as long."""

    forwards: float
    real_tokens: float
    padded_tokens: float
    launches: float

    @property
    def padding(self) -> float:
        """Padded tokens per real one."""
        return self.padded_tokens / self.real_tokens


class _Drawn(NamedTuple):
    """What sampled steps of a learner depend on, of its `Work`."""

    rows_per_step: float
    tasks: int
    row_tokens: float
    lengths: tuple[tuple[int, ...], ...]


def sample_step(
    works: Sequence[Work], cost: LaunchCost, *, on_gpu: bool, max_tokens: int = MAX_FORWARD_TOKENS
) -> PlannedStep:
    """The mean of some sampled steps of a pack with this work, where forwards have such launch cost.

    `max_tokens` limits a forward's padded tokens.
    """
    drawn = [_Drawn(work.rows_per_step, work.tasks, work.row_tokens, work.lengths) for work in works]
    return _sample_once(tuple(drawn), cost, on_gpu=on_gpu, max_tokens=max_tokens)


@lru_cache(maxsize=4096)
def _sample_once(
    learners: tuple[_Drawn, ...], cost: LaunchCost, *, on_gpu: bool, max_tokens: int
) -> PlannedStep:
    """The same; a plan asks again and again for a run that steps alone."""
    draw = np.random.default_rng(0)
    steps = [_slots(learners, draw) for _ in range(SAMPLED_STEPS)]
    costs = [cost] * len(learners)
    plans = [plan_microbatches(slots, costs=costs, max_tokens=max_tokens, together=on_gpu) for slots in steps]
    counts = [tokens_and_launches(plan, cost) for plan in plans]
    return PlannedStep(
        forwards=fmean(len(plan) for plan in plans),
        real_tokens=fmean(sum(slot.num_tokens for slot in slots) for slots in steps),
        padded_tokens=fmean(padded for padded, _ in counts),
        launches=fmean(launches for _, launches in counts),
    )


def _slots(learners: Sequence[_Drawn], draw: np.random.Generator) -> list[SlotRows]:
    slots = []
    for owner, drawn in enumerate(learners):
        mean = (round(drawn.row_tokens),)
        each = max(1, round(drawn.rows_per_step / (len(drawn.lengths) or drawn.tasks)))
        for slot in range(max(1, round(drawn.rows_per_step / each))):
            lengths = drawn.lengths[slot % len(drawn.lengths)] if drawn.lengths else mean
            rows = tuple(_row(int(length)) for length in draw.choice(lengths, each))
            slots.append(SlotRows(owner, slot, rows))
    return slots


@lru_cache(maxsize=4096)
def _row(length: int) -> TokenRow:
    """A row of so many tokens, of which the planner reads nothing but their number."""
    prompt = (0,) * max(1, length - 1)
    one = (1,)
    return TokenRow("", "", "train", "", prompt, ((0,),), 0, one, one, one, (0,), 0)
