"""`TaskSplit`: accuracy on the tasks that a run was calibrated on, and on those without a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from analysis.stats.epoch_selection import KEPT, REPORTED_SPLIT, SelectionError, scores_at, select_epochs
from analysis.stats.quantities import Quantity, Spread, spread
from analysis.stats.result_table import Cell, ResultSet, Run
from analysis.stats.rows_used import rows_used
from portal.methods import BASE


@dataclass(frozen=True)
class TaskGroup:
    """Some tasks of each seed: how many, the method's score, and the base's on the same tasks."""

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
    """One cell's tasks in two groups. A task can be in another group with another seed.

    `unseen` are by seed the tasks without a row. `rows` are those of all tasks that a run's scores rest on.
    """

    cell: Cell
    calibrated: TaskGroup
    without_rows: TaskGroup
    unseen: Mapping[int | None, frozenset[str]]
    rows: Spread

    @property
    def num_calibrated(self) -> int:
        """Calibrated tasks, the mean over seeds rounded."""
        return round(self.calibrated.num_tasks.mean or 0)

    @property
    def num_tasks(self) -> int:
        """All tasks, likewise."""
        return round((self.calibrated.num_tasks.mean or 0) + (self.without_rows.num_tasks.mean or 0))

    @property
    def is_partial(self) -> bool:
        """Whether there are tasks without a row."""
        return any(self.unseen.values())

    @property
    def is_port(self) -> bool:
        """Whether it is a port itself, not a control of one."""
        return not self.cell.spec.is_control

    @property
    def share(self) -> Quantity:
        """The rise over the frozen base without a row, as a share of the rise on calibrated tasks."""
        if not self.is_partial:
            return Quantity(None, "every task gave rows")
        if not self.calibrated.num_tasks.mean:
            return Quantity(None, "none of these tasks gave rows")
        with_rows, without = self.calibrated.rise, self.without_rows.rise
        if with_rows is None or without is None:
            return Quantity(None, "no score of the frozen base on the same tasks")
        if with_rows <= 0:
            return Quantity(None, "the calibrated tasks do not rise above the frozen base")
        return Quantity(without / with_rows)

    def is_comparable(self, other: "TaskSplit") -> bool:
        """Whether both have as many rows per task, of the same tasks in every seed that both have."""
        shared = self.unseen.keys() & other.unseen.keys()
        alike = all(self.unseen[seed] == other.unseen[seed] for seed in shared)
        return self.cell.size == other.cell.size and bool(shared) and alike


def split_tasks(study: ResultSet, base: str, rule: str = KEPT) -> tuple[TaskSplit, ...]:
    """The cells on `base` of methods that may be calibrated on some tasks, at the epochs that `rule` reports.

    None where every run was calibrated on all. Means are over the tasks of a group within a seed first, then
    over seeds. Runs of which no epoch can be chosen are left out.
    """
    cells = {cell: runs for cell, runs in study.cells.items() if cell.base == base}
    frozen = next((run for cell, runs in cells.items() if cell.method == BASE.name for run in runs), None)
    base_scores = {} if frozen is None else _accuracies(frozen, rule)
    splits = [
        _split(cell, runs, base_scores, rule) for cell, runs in cells.items() if cell.spec.takes_calibrated
    ]
    return tuple(splits) if any(split.is_partial for split in splits) else ()


def controls_of(port: TaskSplit, splits: Sequence[TaskSplit]) -> list[TaskSplit]:
    """The splits of controls that saw the same rows as the port."""
    return [split for split in splits if not split.is_port and split.is_comparable(port)]


def leading_split(splits: Sequence[TaskSplit]) -> TaskSplit | None:
    """The port's split that a report leads with: nearest to half of the tasks calibrated, then most rows.

    What no task gave a row for, as latents by description, has nothing to be compared with.

    Of two as near, the one with fewer calibrated tasks. Nothing of it depends on a score.
    """
    ports = [split for split in splits if split.is_port and split.is_partial and split.num_calibrated]

    def distance(split: TaskSplit) -> tuple[float, int, int]:
        from_half = abs(split.num_calibrated - split.num_tasks / 2)
        return from_half, split.num_calibrated, -(split.cell.size or 0)

    return min(ports, key=distance, default=None)


def _split(cell: Cell, runs: Sequence[Run], base_scores: dict[str, float], rule: str) -> TaskSplit:
    scored = [(run, scores) for run in runs if (scores := _accuracies(run, rule))]
    calibrated, without_rows = (
        _group(
            [
                {task: acc for task, acc in scores.items() if (task in run.without_rows) == is_without}
                for run, scores in scored
            ],
            base_scores,
        )
        for is_without in (False, True)
    )
    rows = [rows for run, _ in scored if (rows := rows_used(run, rule)) is not None]
    unseen = {run.seed: frozenset(run.without_rows & scores.keys()) for run, scores in scored}
    return TaskSplit(cell, calibrated, without_rows, unseen, spread(rows, reason="not in these tables"))


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
    """Scores on reported rows by task; empty where no epoch can be chosen."""
    try:
        epochs = select_epochs(run, rule)
    except SelectionError:
        return {}
    return {task: score.score for task, score in scores_at(run, epochs, REPORTED_SPLIT).items()}


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
