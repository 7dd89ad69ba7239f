"""Paired, clustered bootstrap over documents and seeds: intervals for accuracy, differences and lift.

A draw resamples, with replacement, the clusters of every task and the seeds; all runs see the same draw, so
comparisons are paired. Shapes: D draws, C clusters, R runs, S seeds, K columns of numbers.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
import pyarrow as pa

from analysis.stats.answers import TaskAnswers, gather_answers
from analysis.stats.epoch_selection import can_select, select_epochs
from analysis.stats.result_table import Cell, ResultSet, Run

NUM_DRAWS = 10_000
LEVEL = 0.95
_DRAWS_AT_ONCE = 500


@dataclass(frozen=True)
class Interval:
    """A point estimate with the `level` percentile interval; all null, with a reason, when undefined."""

    value: float | None
    low: float | None
    high: float | None
    level: float = LEVEL
    reason: str | None = None

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Chosen:
    """The runs of some cells at the epochs that a rule chose, without the runs that it cannot judge.

    `members[cell][seed]` is a key of `runs` and `epochs`. The frozen base has the one seed None.
    """

    runs: Mapping[str, Run]
    epochs: Mapping[str, Mapping[str, int]]  # run key -> task -> epoch
    members: Mapping[Cell, Mapping[int | None, str]]

    def answers(self, predictions: pa.Table) -> dict[str, TaskAnswers]:
        """The runs' answers by task; ValueError when predictions are missing or on unlike examples."""
        return gather_answers(predictions, self.runs, self.epochs)


@dataclass(frozen=True)
class Bootstrap:
    """A statistic of every run in every draw; cells are compared over the seeds that they share.

    `members` are those of Chosen, with keys of `draws` and of `points`, the undrawn values.
    """

    members: Mapping[Cell, Mapping[int | None, str]]
    draws: Mapping[str, np.ndarray]  # run key -> (D,)
    points: Mapping[str, float]
    seed: int

    def estimate(self, cell: Cell) -> Interval:
        (draws,), (point,) = self.paired(cell)
        return interval_of(point, draws)

    def difference(self, first: Cell, second: Cell) -> Interval:
        """`first` minus `second`, paired."""
        draws, points = self.paired(first, second)
        return interval_of(points[0] - points[1], draws[0] - draws[1])

    def lift(self, cell: Cell, base: Cell, lora: Cell) -> Interval:
        """Recovered lift; undefined when the LoRA's rise is not positive in nearly every draw."""
        draws, points = self.paired(cell, base, lora)
        rise = draws[2] - draws[1]
        if points[2] <= points[1] or np.mean(rise <= 0) > (1 - LEVEL) / 2:
            reason = "the per-task LoRA's rise over the base is not clearly positive"
            return Interval(None, None, None, reason=reason)
        risen = rise > 0
        lifts = (draws[0] - draws[1])[risen] / rise[risen]
        return interval_of((points[0] - points[1]) / (points[2] - points[1]), lifts)

    def shared_seeds(self, *cells: Cell) -> tuple[int, ...]:
        """Seeds that every seeded one of `cells` has, ascending; empty when none of them is seeded."""
        of_cells = [set(self.members[cell]) for cell in cells if None not in self.members[cell]]
        shared = set.intersection(*of_cells) if of_cells else set()
        return tuple(sorted(seed for seed in shared if seed is not None))

    def can_compare(self, *cells: Cell) -> bool:
        """Whether all of `cells` have scores, and those that are seeded share a seed."""
        if any(cell not in self.members for cell in cells):
            return False
        unseeded = all(None in self.members[cell] for cell in cells)
        return unseeded or bool(self.shared_seeds(*cells))

    def paired(self, *cells: Cell) -> tuple[list[np.ndarray], list[float]]:
        """(D,) draws and points of `cells`, means over the seeds they share, resampled alike in all."""
        seeds = self.shared_seeds(*cells)
        number = max(len(seeds), 1)
        num_draws = len(next(iter(self.draws.values())))
        generator = np.random.default_rng((self.seed, number))
        weight_DS = generator.multinomial(number, np.full(number, 1 / number), size=num_draws) / number
        draws, points = [], []
        for cell in cells:
            runs = self.members[cell]
            keys = [runs[None]] * number if None in runs else [runs[seed] for seed in seeds]
            drawn_DS = np.stack([self.draws[key] for key in keys], axis=1)
            draws.append((drawn_DS * weight_DS).sum(axis=1))
            points.append(fsum(self.points[key] for key in keys) / number)
        return draws, points


def choose_runs(study: ResultSet, cells: Sequence[Cell], rule: str) -> Chosen:
    """The runs of `cells` that have every task, at the epochs of the rule."""
    by_cell = study.cells
    runs = {run.key: run for cell in cells for run in by_cell[cell]}
    tasks = {task for run in runs.values() for task in run.tasks}
    kept = {key: run for key, run in runs.items() if set(run.tasks) == tasks and can_select(run, rule)}
    members: dict[Cell, dict[int | None, str]] = {}
    for key, run in kept.items():
        members.setdefault(run.cell, {})[run.seed] = key
    return Chosen(kept, {key: select_epochs(run, rule) for key, run in kept.items()}, members)


def bootstrap_accuracy(
    chosen: Chosen, answers: Mapping[str, TaskAnswers], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Bootstrap:
    """Macro acc_norm of every chosen run: its mean over tasks, in every draw of the clusters."""
    keys = sorted(chosen.runs)
    macro_DR = np.zeros((num_draws, len(keys)))
    point_R = np.zeros(len(keys))
    for task, drawn in draw_clusters(answers, num_draws=num_draws, seed=seed):
        given = answers[task]
        correct_CR = np.stack([given.sum_by_cluster(given.answers[key].correct) for key in keys], axis=1)
        sums_DR, sizes_D = drawn.sums(correct_CR)
        macro_DR += sums_DR / sizes_D[:, None] / len(answers)
        point_R += correct_CR.sum(axis=0) / given.sizes.sum() / len(answers)
    draws = {key: macro_DR[:, place] for place, key in enumerate(keys)}
    return Bootstrap(chosen.members, draws, dict(zip(keys, point_R.tolist(), strict=True)), seed)


@dataclass(frozen=True)
class ClusterDraws:
    """The draws of one task's clusters, made anew from their seed each time they are read."""

    sizes_C: np.ndarray
    num_draws: int
    seed: tuple[int, ...]

    def sums(self, value_CK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(D, K) sums of cluster values, and (D,) numbers of rows, in every draw."""
        num_clusters = len(self.sizes_C)
        table = np.concatenate([value_CK, self.sizes_C[:, None]], axis=1).astype(np.float32)
        sums = np.concatenate([weight_DC @ table for weight_DC in self._weights(num_clusters)])
        return sums[:, :-1].astype(np.float64), sums[:, -1].astype(np.float64)

    def _weights(self, num_clusters: int) -> Iterator[np.ndarray]:
        """(d, C) numbers of times that each cluster is drawn, for some draws at a time."""
        generator = np.random.default_rng(self.seed)
        for start in range(0, self.num_draws, _DRAWS_AT_ONCE):
            count = min(_DRAWS_AT_ONCE, self.num_draws - start)
            picks = generator.integers(num_clusters, size=(count, num_clusters), dtype=np.int32)
            picks += (np.arange(count, dtype=np.int32) * num_clusters)[:, None]
            weights = np.bincount(picks.ravel(), minlength=count * num_clusters)
            yield weights.reshape(count, num_clusters).astype(np.float32)


def draw_clusters(
    answers: Mapping[str, TaskAnswers], *, num_draws: int, seed: int
) -> Iterator[tuple[str, ClusterDraws]]:
    """The draws of every task. They depend on the seed and the task's own name and clusters alone."""
    for task in sorted(answers):
        own = zlib.crc32(task.encode())
        yield task, ClusterDraws(answers[task].sizes, num_draws, (seed, own))


def interval_of(point: float, draws: np.ndarray) -> Interval:
    """The percentile interval of (D,) draws around an undrawn value."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(point, float(low), float(high))
