"""`PlannedStep`: the padded tokens and launches of a pack's steps, by the planner that plans them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np

from portal.data.token_rows import TokenRow
from portal.forward.microbatch import SlotRows
from portal.forward.microbatch_plan import LaunchCost, plan_microbatches, tokens_and_launches
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


def sample_step(works: Sequence[Work], cost: LaunchCost, *, on_gpu: bool) -> PlannedStep:
    """The mean of some sampled steps of a pack with this work, where forwards have such launch cost."""
    draw = np.random.default_rng(0)
    steps = [_slots(works, draw) for _ in range(SAMPLED_STEPS)]
    costs = [cost] * len(works)
    plans = [plan_microbatches(slots, costs=costs, together=on_gpu) for slots in steps]
    counts = [tokens_and_launches(plan, cost) for plan in plans]
    return PlannedStep(
        forwards=fmean(len(plan) for plan in plans),
        real_tokens=fmean(sum(slot.num_tokens for slot in slots) for slots in steps),
        padded_tokens=fmean(padded for padded, _ in counts),
        launches=fmean(launches for _, launches in counts),
    )


def _slots(works: Sequence[Work], draw: np.random.Generator) -> list[SlotRows]:
    slots = []
    for owner, work in enumerate(works):
        each = max(1, round(work.rows_per_step / (len(work.lengths) or work.tasks)))
        for slot in range(max(1, round(work.rows_per_step / each))):
            lengths = work.lengths[slot % len(work.lengths)] if work.lengths else (round(work.row_tokens),)
            rows = tuple(_row(int(length)) for length in draw.choice(lengths, each))
            slots.append(SlotRows(owner, slot, rows))
    return slots


@lru_cache(maxsize=4096)
def _row(length: int) -> TokenRow:
    """A row of so many tokens, of which the planner reads nothing but their number."""
    prompt = (0,) * max(1, length - 1)
    one = (1,)
    return TokenRow("", "", "train", "", prompt, ((0,),), 0, one, one, one, (0,), 0)
