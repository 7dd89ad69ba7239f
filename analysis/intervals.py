"""Paired, clustered bootstrap over documents and seeds: intervals for accuracy, differences and lift.

A draw resamples, with replacement, the clusters of every task and the seeds; all runs see the same draw, so
comparisons are paired. Shapes: D draws, C clusters, R runs, S seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
import pyarrow as pa

from analysis.aggregate import Comparison, Summary
from analysis.correctness import TaskOutcomes, gather_outcomes
from analysis.runs import Cell, Study
from analysis.selection import can_select, select_epochs

NUM_DRAWS = 10_000
LEVEL = 0.95
_DRAWS_AT_ONCE = 500
_NUMBER_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


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
class Bootstrap:
    """Macro accuracy of every run in every draw; cells are compared over the seeds that they share.

    `members[cell][seed]` is a key of `draws` and of `points`, the undrawn values. The frozen base has the one
    seed None.
    """

    members: Mapping[Cell, Mapping[int | None, str]]
    draws: Mapping[str, np.ndarray]  # run key -> (D,)
    points: Mapping[str, float]
    seed: int

    def accuracy(self, cell: Cell) -> Interval:
        (draws,), (point,) = self._paired(cell)
        return _interval(point, draws)

    def difference(self, first: Cell, second: Cell) -> Interval:
        """`first` minus `second`, paired."""
        draws, points = self._paired(first, second)
        return _interval(points[0] - points[1], draws[0] - draws[1])

    def lift(self, cell: Cell, base: Cell, lora: Cell) -> Interval:
        """Recovered lift; undefined when the LoRA's rise is not positive in nearly every draw."""
        draws, points = self._paired(cell, base, lora)
        rise = draws[2] - draws[1]
        if points[2] <= points[1] or np.mean(rise <= 0) > (1 - LEVEL) / 2:
            reason = "the per-task LoRA's rise over the base is not clearly positive"
            return Interval(None, None, None, reason=reason)
        risen = rise > 0
        lifts = (draws[0] - draws[1])[risen] / rise[risen]
        return _interval((points[0] - points[1]) / (points[2] - points[1]), lifts)

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

    def _paired(self, *cells: Cell) -> tuple[list[np.ndarray], list[float]]:
        """Draws and points of `cells`, averaged over the seeds they share, resampled alike in all of them."""
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


def bootstrap_cells(
    study: Study,
    predictions: pa.Table,
    cells: Sequence[Cell],
    *,
    rule: str,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap draws of the macro accuracy of `cells`.

    A run that the rule cannot judge or that lacks a task is left out. Raises ValueError when predictions are
    missing or were made on unlike examples.
    """
    epochs: dict[str, dict[str, int]] = {}
    runs = {run.key: run for cell in cells for run in study.cells[cell]}
    tasks = {task for run in runs.values() for task in run.tasks}
    for key, run in runs.items():
        if set(run.tasks) == tasks and can_select(run, rule):
            epochs[key] = select_epochs(run, rule)
    members: dict[Cell, dict[int | None, str]] = {}
    for key in epochs:
        members.setdefault(runs[key].cell, {})[runs[key].seed] = key
    outcomes = gather_outcomes(predictions, {key: runs[key] for key in epochs}, epochs)
    draws, points = draw_outcomes(outcomes, num_draws=num_draws, seed=seed)
    return Bootstrap(members, draws, points, seed)


def draw_outcomes(
    outcomes: Mapping[str, TaskOutcomes], *, num_draws: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Macro accuracy of every run: in every draw of the clusters, and undrawn."""
    keys = sorted({key for outcome in outcomes.values() for key in outcome.correct})
    macro_DR = np.zeros((num_draws, len(keys)))
    point_R = np.zeros(len(keys))
    generator = np.random.default_rng(seed)
    for task in sorted(outcomes):
        correct_CR = np.stack([outcomes[task].correct[key] for key in keys], axis=1)
        macro_DR += _task_draws(outcomes[task].sizes, correct_CR, num_draws, generator) / len(outcomes)
        point_R += correct_CR.sum(axis=0) / outcomes[task].sizes.sum() / len(outcomes)
    draws = {key: macro_DR[:, place] for place, key in enumerate(keys)}
    return draws, dict(zip(keys, point_R.tolist(), strict=True))


def describe_difference(first: Summary, second: Summary, bootstrap: Bootstrap) -> str:
    """One plain sentence: which of two methods is more accurate, or that they cannot be told apart."""
    interval = bootstrap.difference(first.cell, second.cell)
    assert interval.value is not None
    assert interval.low is not None
    assert interval.high is not None
    at = f"at {count_seeds(len(bootstrap.shared_seeds(first.cell, second.cell)))}"
    numbers = (
        f"difference {_points(interval.value)} points, {100 * LEVEL:.0f} % interval "
        f"{_points(interval.low)} to {_points(interval.high)}"
    )
    names = distinct_names(first.cell, second.cell)
    if not interval.excludes_zero:
        return _sentence(f"{names[0]} and {names[1]} are not distinguishable {at} ({numbers}).")
    verb = "is more accurate than" if interval.value > 0 else "is less accurate than"
    return _sentence(f"{names[0]} {verb} {names[1]} {at} ({numbers}).")


def describe_all(comparison: Comparison, bootstrap: Bootstrap) -> list[str]:
    """A sentence for every pair of main lines that the bootstrap covers, the base last."""
    lines = [line for line in comparison.main if line.cell.method != "base"][::-1]
    lines += [line for line in comparison.main if line.cell.method == "base"]
    pairs = [(first, second) for place, first in enumerate(lines) for second in lines[place + 1 :]]
    return [
        describe_difference(first, second, bootstrap)
        for first, second in pairs
        if bootstrap.can_compare(first.cell, second.cell)
    ]


def distinct_names(first: Cell, second: Cell) -> tuple[str, str]:
    """Names for two cells, with modules and rank only where the method alone does not tell them apart."""
    if first.method != second.method:
        return _with_article(first), _with_article(second)
    return (
        f"{first.variant.label} {first.variant.settings}",
        f"{second.variant.label} {second.variant.settings}",
    )


def _with_article(cell: Cell) -> str:
    named = ("base", "lora", "hypernet")
    return f"the {cell.variant.label}" if cell.method in named else cell.variant.label


def _points(share: float) -> str:
    """A share in percentage points, with a second decimal where the first would round a sign away."""
    points = 100 * share
    text = f"{points:+.2f}" if 0 < abs(points) < 0.05 else f"{points:+.1f}"
    return text.replace("-", "\u2212")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def count_seeds(number: int) -> str:
    """`one seed`, `three seeds`."""
    word = _NUMBER_WORDS[number] if number < len(_NUMBER_WORDS) else str(number)
    return f"{word} seed{'' if number == 1 else 's'}"


def _task_draws(
    sizes_C: np.ndarray, correct_CR: np.ndarray, num_draws: int, generator: np.random.Generator
) -> np.ndarray:
    """(D, R) accuracy of one task in every draw of its clusters."""
    num_clusters = len(sizes_C)
    table = np.concatenate([correct_CR, sizes_C[:, None]], axis=1).astype(np.float32)
    drawn = []
    for start in range(0, num_draws, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, num_draws - start)
        picks = generator.integers(num_clusters, size=(count, num_clusters), dtype=np.int32)
        picks += (np.arange(count, dtype=np.int32) * num_clusters)[:, None]
        weight_DC = np.bincount(picks.ravel(), minlength=count * num_clusters)
        drawn.append(weight_DC.reshape(count, num_clusters).astype(np.float32) @ table)
    sums = np.concatenate(drawn)
    return sums[:, :-1].astype(np.float64) / sums[:, -1:]


def _interval(point: float, draws: np.ndarray) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(point, float(low), float(high))
