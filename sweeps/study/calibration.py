"""Calibrated tasks: on which of a study's tasks a port is trained, drawn by seed or named."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from portal.messages import nearest

Calibrate = (
    Annotated[int, Field(ge=1, strict=True)]
    | Annotated[float, Field(gt=0, le=1)]
    | Annotated[tuple[str, ...], Field(min_length=1)]
)
"""A number of tasks, a share of them, or their names."""


def calibrated_tasks(
    tasks: Sequence[str], wanted: Calibrate | None, seed: int, kinds: Mapping[str, str]
) -> tuple[str, ...] | None:
    """The tasks that a run with this seed is trained on, in the order of `tasks`; None: all of them.

    A number or a share is drawn: the first ones of one random order per seed, so that fewer tasks are among
    more. In that order each of the `kinds`, where tasks have them, comes once before one comes twice. A share
    is rounded to the nearest number of tasks, at least one. ValueError for an unknown task, and for more
    tasks than there are.
    """
    if wanted is None:
        return None
    if isinstance(wanted, tuple):
        for task in wanted:
            if task not in tasks:
                raise ValueError(f"calibrate: the study has no task {task!r}{nearest(task, tasks)}")
        chosen = set(wanted)
    else:
        count = wanted if isinstance(wanted, int) else max(1, round(wanted * len(tasks)))
        if count > len(tasks):
            raise ValueError(f"calibrate: {count} tasks, the study has {len(tasks)}")
        chosen = set(_seeded_order(tasks, seed, kinds)[:count])
    return None if len(chosen) == len(tasks) else tuple(task for task in tasks if task in chosen)


def _seeded_order(tasks: Sequence[str], seed: int, kinds: Mapping[str, str]) -> list[str]:
    """The tasks in an order that their names and the seed decide, not how they are listed."""
    names = sorted(tasks)
    sequence = np.random.SeedSequence([seed, zlib.crc32(b"calibrated tasks")])
    drawn = [names[index] for index in np.random.default_rng(sequence).permutation(len(names))]
    earlier: Counter[str | None] = Counter()
    turns = {}
    for task in drawn:
        turns[task] = earlier[kinds.get(task)]
        earlier[kinds.get(task)] += 1
    return sorted(drawn, key=turns.__getitem__)
