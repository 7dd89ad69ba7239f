"""`SeedSpread`: how far the seed decides what a method scores on a task."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, sqrt

import numpy as np

from analysis.stats.aggregate import MethodSummary
from analysis.stats.bootstrap import Interval, interval_of
from analysis.stats.resampling import NUM_DRAWS, draw_tasks
from analysis.stats.result_table import Cell


@dataclass(frozen=True)
class SeedSpread:
    """The sample std of the score over `num_seeds` seeds, of each task of a cell.

    `pooled` is the root of the mean variance over tasks; its interval draws tasks, and not seeds.
    """

    cell: Cell
    num_seeds: int
    num_tasks: int
    pooled: Interval
    largest: float
    largest_task: str


def find_seed_spreads(summaries: Sequence[MethodSummary]) -> tuple[SeedSpread, ...]:
    """The spread of every summary that has two seeds or more, and as many on each of its tasks."""
    return tuple(
        _find_spread(summary, stds)
        for summary in summaries
        if (stds := {task: scores.std for task, scores in summary.per_task.items() if scores.std is not None})
        and {scores.n for scores in summary.per_task.values()} == {summary.acc.n}
    )


def _find_spread(summary: MethodSummary, stds: dict[str, float]) -> SeedSpread:
    tasks = sorted(stds)
    variance_T = np.array([stds[task] ** 2 for task in tasks])
    count_DT = draw_tasks(tasks, num_draws=NUM_DRAWS, seed=0).astype(np.float64)
    pooled_D = np.sqrt(count_DT @ variance_T / count_DT.sum(axis=1))
    widest = max(tasks, key=lambda task: stds[task])
    return SeedSpread(
        cell=summary.cell,
        num_seeds=summary.acc.n,
        num_tasks=len(tasks),
        pooled=interval_of(sqrt(fsum(variance_T) / len(tasks)), pooled_D),
        largest=stds[widest],
        largest_task=widest,
    )
