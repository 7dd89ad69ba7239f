"""Paired, clustered bootstrap: intervals of accuracy, log-loss, differences, lift and the spread of seeds.

Clusters of rows are drawn anew, and seeds, and, for what is to hold of other tasks of these kinds as well,
tasks. A draw adds what each of them changes alone: drawn together, noise of single answers would count
several times (Owen, 2007, Annals of Applied Statistics 1). All runs see the same draws, so comparisons are
paired.

A count, how often a draw has a cluster or a task, is Poisson with mean 1 (Hanley and MacGibbon, 2006), nearly
what drawing with replacement gives, but it depends on the seed and a name alone: a person whom several tasks
ask about is drawn equally often in all of them, and all runs and studies see the same draws. Shapes: D draws,
T tasks, C clusters, R runs, S seeds, N rows of a task, K columns of numbers.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp, factorial, fsum, sqrt

import numpy as np
import pyarrow as pa

from analysis.stats.aggregate import Comparison, MethodSummary, can_select, select_epochs
from analysis.stats.answers import Answers, TaskAnswers, gather_answers
from analysis.stats.result_table import Cell, ResultSet, Run
from portal.methods import BASE

NUM_DRAWS = 10_000
_CLUSTERS_AT_ONCE = 64
_MOST = 12
"""No name is drawn more often: the probability of more is 6e-11."""


@dataclass(frozen=True)
class ClusterDraws:
    """The draws of one task's clusters. A draw that would have none of them has each once."""

    names_C: tuple[str, ...]
    num_draws: int
    seed: int

    def sums(self, value_CK: np.ndarray) -> np.ndarray:
        """(D, K) sums of the drawn clusters' values; of counts they are exact, whatever is beside them."""
        names = [f"cluster {name}" for name in self.names_C]
        count_DC = _filled([_counts(name, self.num_draws, self.seed) for name in names])
        sum_DK = np.zeros((self.num_draws, value_CK.shape[1]))
        for start in range(0, len(names), _CLUSTERS_AT_ONCE):
            some = slice(start, start + _CLUSTERS_AT_ONCE)
            sum_DK += count_DC[:, some].astype(np.float64) @ value_CK[some].astype(np.float64)
        return sum_DK


def draw_clusters(
    answers: Mapping[str, TaskAnswers], *, num_draws: int, seed: int
) -> Iterator[tuple[str, ClusterDraws]]:
    """The draws of every task's clusters, by task."""
    for task in sorted(answers):
        yield task, ClusterDraws(answers[task].names, num_draws, seed)


def draw_tasks(tasks: Sequence[str], *, num_draws: int, seed: int) -> np.ndarray:
    """(D, T) how often every draw has each task; one that would have none of them has each once."""
    return _filled([_counts(f"task {name}", num_draws, seed) for name in tasks])


def _filled(counts: list[np.ndarray]) -> np.ndarray:
    """(D, N) the (D,) counts side by side, with ones in draws that have nothing."""
    count_DN = np.stack(counts, axis=1)
    count_DN[~count_DN.any(axis=1)] = 1
    return count_DN


@lru_cache(maxsize=1024)
def _counts(name: str, num_draws: int, seed: int) -> np.ndarray:
    """(D,) how often what bears that name is drawn."""
    generator = np.random.default_rng((seed, zlib.crc32(name.encode())))
    count_D = _quantiles()[generator.integers(2**16, size=num_draws, dtype=np.uint16)]
    count_D.setflags(write=False)
    return count_D


@cache
def _quantiles() -> np.ndarray:
    """The quantiles of Poisson(1) at the middles of 2^16 equal parts."""
    below = np.cumsum([exp(-1) / factorial(count) for count in range(_MOST)])
    return np.searchsorted(below, (np.arange(2**16) + 0.5) / 2**16).astype(np.uint8)


LEVEL = 0.95
_GRID = 2.0**16
"""Log-likelihoods are rounded to 1 / _GRID nats: their sums are exact, whatever runs stand beside them."""


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

    def known_estimate(self, cell: Cell) -> Interval | None:
        """`estimate`; None where the cell has no scores."""
        return self.estimate(cell) if self.can_compare(cell) else None

    def known_difference(self, first: Cell, second: Cell) -> Interval | None:
        """`difference`; None where one has no scores, or they share no seed."""
        return self.difference(first, second) if self.can_compare(first, second) else None

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
            point_S = np.array([self.points[key] for key in keys])
            drawn_D = np.stack([self.draws[key] for key in keys], axis=1).mean(axis=1)
            draws.append(drawn_D + (weight_DS - 1 / number) @ point_S)
            points.append(fsum(point_S) / number)
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


@dataclass(frozen=True)
class Measure:
    """A task's score of a run: the sum of `amount` over its rows, divided by that of `weight`.

    All runs on a base have the same weights.
    """

    amount: Callable[[Answers], np.ndarray]
    weight: Callable[[Answers], np.ndarray]


ACCURACY = Measure(lambda answers: answers.correct, lambda answers: np.ones(len(answers.correct)))
"""The mean score: of choices acc_norm, the share of right answers."""
LOG_LOSS = Measure(
    lambda answers: np.round(answers.gold_nll * _GRID) / _GRID, lambda answers: answers.gold_tokens
)
"""log_loss: nats per token of the right answers."""


@dataclass(frozen=True)
class TaskDraws:
    """One task's score of every run: undrawn, and in every draw of its clusters."""

    task: str
    point_R: np.ndarray
    value_DR: np.ndarray


def bootstrap_accuracy(
    chosen: Chosen, answers: Mapping[str, TaskAnswers], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> Bootstrap:
    """Macro acc_norm of every chosen run on these tasks, in every draw of the clusters."""
    keys = sorted(chosen.runs)
    macro_DR, point_TR = _draw_macro(answers, keys, ACCURACY, num_draws=num_draws, seed=seed)
    return to_bootstrap(chosen, keys, macro_DR, point_TR.mean(axis=0), seed)


def bootstrap_over_tasks(
    chosen: Chosen,
    answers: Mapping[str, TaskAnswers],
    measure: Measure = ACCURACY,
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Bootstrap:
    """The macro score of every chosen run, in every draw of the clusters and of the tasks."""
    keys = sorted(chosen.runs)
    macro_DR, point_TR = _draw_macro(answers, keys, measure, num_draws=num_draws, seed=seed)
    change_DR = change_by_tasks(point_TR, sorted(answers), num_draws=num_draws, seed=seed)
    return to_bootstrap(chosen, keys, macro_DR + change_DR, point_TR.mean(axis=0), seed)


def bootstrap_cells(
    study: ResultSet, kept: Comparison, predictions: pa.Table | None, measures: Mapping[str, Measure]
) -> dict[str, Bootstrap]:
    """By measure, the frozen base and every variant at every size of a comparison, over tasks.

    It is empty without predictions or a cell that is scored.
    """
    cells = [
        summary.cell
        for summary in kept.summaries
        if summary.acc.mean is not None
        and (summary.cell.size is not None or summary.cell.method == BASE.name)
    ]
    if predictions is None or not cells:
        return {}
    chosen = choose_runs(study, cells, kept.rule)
    answers = chosen.answers(predictions)
    return {name: bootstrap_over_tasks(chosen, answers, measure) for name, measure in measures.items()}


def change_by_tasks(point_TR: np.ndarray, tasks: Sequence[str], *, num_draws: int, seed: int) -> np.ndarray:
    """(D, R) what a draw of the tasks adds to the means over them."""
    count_DT = draw_tasks(tasks, num_draws=num_draws, seed=seed).astype(np.float64)
    return count_DT @ point_TR / count_DT.sum(axis=1, keepdims=True) - point_TR.mean(axis=0)


def _draw_macro(
    answers: Mapping[str, TaskAnswers], keys: Sequence[str], measure: Measure, *, num_draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(D, R) means over tasks in every draw of the clusters, and (T, R) the undrawn scores, tasks sorted."""
    macro_DR, points = np.zeros((num_draws, len(keys))), []
    for drawn in draw_scores(answers, keys, measure, num_draws=num_draws, seed=seed):
        macro_DR += drawn.value_DR / len(answers)
        points.append(drawn.point_R)
    return macro_DR, np.stack(points)


def draw_scores(
    answers: Mapping[str, TaskAnswers], keys: Sequence[str], measure: Measure, *, num_draws: int, seed: int
) -> Iterator[TaskDraws]:
    """Scores of the runs `keys`, task by task, sorted."""
    for task, drawn in draw_clusters(answers, num_draws=num_draws, seed=seed):
        given = answers[task]
        weight_C = given.sum_by_cluster(measure.weight(given.answers[keys[0]]))
        columns = [given.sum_by_cluster(measure.amount(given.answers[key])) for key in keys]
        sum_DK = drawn.sums(np.stack([*columns, weight_C], axis=1))
        point_R = np.array([column.sum() for column in columns]) / weight_C.sum()
        yield TaskDraws(task, point_R, sum_DK[:, :-1] / sum_DK[:, -1:])


def to_bootstrap(
    chosen: Chosen, keys: Sequence[str], value_DR: np.ndarray, point_R: np.ndarray, seed: int
) -> Bootstrap:
    """The bootstrap of a statistic of the runs `keys`."""
    draws = {key: value_DR[:, place] for place, key in enumerate(keys)}
    return Bootstrap(chosen.members, draws, dict(zip(keys, point_R.tolist(), strict=True)), seed)


def interval_of(point: float, draws: np.ndarray) -> Interval:
    """The percentile interval of (D,) draws around an undrawn value."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(point, float(low), float(high))


def lift_interval(
    summary: MethodSummary, comparison: Comparison, bootstrap: Bootstrap | None
) -> Interval | None:
    """The interval of a summary's lift, or the reason why there is none; None where the lift is undefined.

    Draws are over shared seeds, so the interval belongs to the lift only if summary and LoRA have the same.
    """
    base, lora = comparison.frozen_base, comparison.reference_lora
    if bootstrap is None or summary.lift.value is None or base is None or lora is None:
        return None
    compared = (summary, base, lora)
    if not bootstrap.can_compare(*(each.cell for each in compared)):
        return Interval(None, None, None, reason="it shares no seed with the per-task LoRA")
    seeded = [set(each.seeds) for each in compared if not has_no_seed(each)]
    covered = all(set(bootstrap.members[each.cell]) == set(each.seeds) for each in compared)
    if not covered or any(seeds != seeded[0] for seeds in seeded):
        return Interval(None, None, None, reason="its seeds are not those of the per-task LoRA")
    return bootstrap.lift(summary.cell, base.cell, lora.cell)


def comparable_pairs(
    comparison: Comparison, bootstrap: Bootstrap
) -> list[tuple[MethodSummary, MethodSummary]]:
    """Every pair of headline summaries that the bootstrap covers: the LoRA first, the base last."""
    ordered = [each for each in comparison.headline_summaries if each.cell.method != BASE.name][::-1]
    ordered += comparison.variants(BASE.name)
    pairs = [(first, second) for place, first in enumerate(ordered) for second in ordered[place + 1 :]]
    return [pair for pair in pairs if bootstrap.can_compare(pair[0].cell, pair[1].cell)]


def accuracy_interval(summary: MethodSummary, bootstrap: Bootstrap | None) -> Interval | None:
    """The interval of a summary's accuracy; None without a bootstrap that covers it."""
    return None if bootstrap is None else bootstrap.known_estimate(summary.cell)


def has_no_seed(summary: MethodSummary) -> bool:
    """Whether nothing in the method is drawn at random: the frozen base and the zero update."""
    return "seed" not in summary.cell.spec.parts


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
