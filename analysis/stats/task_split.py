"""`TaskSplit`: a port's accuracy on the tasks that it was calibrated on, and on those without a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from analysis.stats.aggregate import DEFAULT_RULE
from analysis.stats.epoch_selection import REPORTED_SPLIT, SelectionError, scores_at, select_epochs
from analysis.stats.quantities import Quantity, Spread, spread
from analysis.stats.result_table import Cell, ResultSet, Run
from portal.methods import BASE


@dataclass(frozen=True)
class TaskGroup:
    """Some tasks of each seed: how many, the method's acc_norm, and the base's on the same tasks."""

    num_tasks: Spread
    acc: Spread
    base_acc: Spread

    @property
    def rise(self) -> float | None:
        """The method's mean accuracy less the base's."""
        if self.acc.mean is None or self.base_acc.mean is None:
            return None
        return self.acc.mean - self.base_acc.mean


@dataclass(frozen=True)
class TaskSplit:
    """One cell's tasks in two groups. A task can be in another group with another seed."""

    cell: Cell
    calibrated: TaskGroup
    without_rows: TaskGroup

    @property
    def share(self) -> Quantity:
        """The rise over the frozen base without a row, as a share of the rise on calibrated tasks."""
        with_rows, without = self.calibrated.rise, self.without_rows.rise
        if with_rows is None or without is None:
            return Quantity(None, "no score of the frozen base on the same tasks")
        if with_rows <= 0:
            return Quantity(None, "the calibrated tasks do not rise above the frozen base")
        return Quantity(without / with_rows)


def split_tasks(study: ResultSet, base: str, rule: str = DEFAULT_RULE) -> tuple[TaskSplit, ...]:
    """The cells on `base` whose runs have tasks without rows, at the epochs that `rule` reports.

    Means are over the tasks of a group within a seed first, then over seeds. Runs of which no epoch can be
    chosen are left out.
    """
    cells = {cell: runs for cell, runs in study.cells.items() if cell.base == base}
    frozen = next((run for cell, runs in cells.items() if cell.method == BASE.name for run in runs), None)
    base_scores = {} if frozen is None else _accuracies(frozen, rule)
    return tuple(
        _split(cell, runs, base_scores, rule)
        for cell, runs in cells.items()
        if any(run.without_rows for run in runs)
    )


def _split(cell: Cell, runs: Sequence[Run], base_scores: dict[str, float], rule: str) -> TaskSplit:
    scored = [(run, scores) for run in runs if (scores := _accuracies(run, rule))]
    groups = [
        [
            {task: acc for task, acc in scores.items() if (task in run.without_rows) == is_without}
            for run, scores in scored
        ]
        for is_without in (False, True)
    ]
    return TaskSplit(cell, *(_group(group, base_scores) for group in groups))


def _group(scored: Sequence[dict[str, float]], base_scores: dict[str, float]) -> TaskGroup:
    """The group of tasks of each run; the base's mean is undefined where it lacks one of them."""
    known = [scores for scores in scored if scores]
    on_base = [[base_scores.get(task) for task in scores] for scores in known]
    complete = [[value for value in values if value is not None] for values in on_base]
    has_all = all(len(some) == len(values) for some, values in zip(complete, on_base, strict=True))
    return TaskGroup(
        num_tasks=spread([float(len(scores)) for scores in known]),
        acc=spread([_mean(list(scores.values())) for scores in known]),
        base_acc=spread([_mean(values) for values in complete] if has_all else [], reason="no frozen base"),
    )


def _accuracies(run: Run, rule: str) -> dict[str, float]:
    """acc_norm on reported rows by task; empty where no epoch can be chosen."""
    try:
        epochs = select_epochs(run, rule)
    except SelectionError:
        return {}
    return {task: score.acc_norm for task, score in scores_at(run, epochs, REPORTED_SPLIT).items()}


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
