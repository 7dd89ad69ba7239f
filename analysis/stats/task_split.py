"""`TaskSplit`: accuracy on calibrated tasks and on those without a row; its intervals and its curves.

A draw resamples tasks, clusters of rows and seeds (bootstrap.py); a task that is in one group with one seed
and in the other with another is drawn equally often in both. Shapes: D draws, R runs, T tasks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from analysis.stats.aggregate import (
    KEPT,
    REPORTED_SPLIT,
    Quantity,
    SelectionError,
    Spread,
    rows_used,
    scores_at,
    select_epochs,
    spread,
)
from analysis.stats.answers import TaskAnswers
from analysis.stats.bootstrap import (
    ACCURACY,
    LEVEL,
    NUM_DRAWS,
    Bootstrap,
    Chosen,
    Interval,
    change_by_tasks,
    draw_scores,
    interval_of,
)
from analysis.stats.result_table import Cell, MethodKey, ResultSet, Run
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


Group = Literal["calibrated", "without_rows"]
GROUPS: tuple[Group, ...] = ("calibrated", "without_rows")
_Series = tuple[str, frozenset[str]]
"""A run's key and some tasks."""


@dataclass(frozen=True)
class SplitBootstrap:
    """By group, the accuracy of every run that has tasks in it, and its rise over the frozen base on them.

    `rise` is empty without a frozen base.
    """

    acc: Mapping[Group, Bootstrap]
    rise: Mapping[Group, Bootstrap]

    def accuracy(self, cell: Cell, group: Group) -> Interval | None:
        """The accuracy on the group's tasks; None where the cell has none."""
        return self.acc[group].known_estimate(cell)

    def rise_of(self, cell: Cell, group: Group) -> Interval | None:
        """The accuracy less the frozen base's on the same tasks."""
        return self.rise[group].known_estimate(cell) if self.rise else None

    def share(self, cell: Cell) -> Interval | None:
        """The rise without a row as a share of that on calibrated tasks.

        Undefined where the latter is not positive in nearly every draw.
        """
        if not self.rise or not all(self.rise[group].can_compare(cell) for group in GROUPS):
            return None
        if self.rise["calibrated"].members[cell] != self.rise["without_rows"].members[cell]:
            return Interval(None, None, None, reason="not every seed has tasks of both groups")
        (seen_D,), (seen,) = self.rise["calibrated"].paired(cell)
        (unseen_D,), (unseen,) = self.rise["without_rows"].paired(cell)
        if seen <= 0 or np.mean(seen_D <= 0) > (1 - LEVEL) / 2:
            reason = "the rise on the calibrated tasks is not clearly positive"
            return Interval(None, None, None, reason=reason)
        risen = seen_D > 0
        return interval_of(unseen / seen, unseen_D[risen] / seen_D[risen])

    def difference(self, first: Cell, second: Cell) -> Interval | None:
        """Accuracy of `first` less that of `second` on their tasks without a row, paired."""
        return self.acc["without_rows"].known_difference(first, second)


def share_interval(split: TaskSplit, bootstrap: SplitBootstrap | None) -> Interval | None:
    """The interval of a port's share of the rise; None without predictions or for the frozen base."""
    return None if bootstrap is None else bootstrap.share(split.cell)


def lead_over(port: TaskSplit, control: TaskSplit, bootstrap: SplitBootstrap | None) -> Interval:
    """The port's accuracy on tasks without a row less the control's, over the seeds that both have.

    Without predictions there are no limits, and no difference unless both have the same seeds.
    """
    found = None if bootstrap is None else bootstrap.difference(port.cell, control.cell)
    if found is not None:
        return found
    first, second = port.without_rows.acc.mean, control.without_rows.acc.mean
    if first is None or second is None or port.unseen.keys() != control.unseen.keys():
        return Interval(None, None, None, reason="they do not have the same seeds")
    return Interval(first - second, None, None, reason="no predictions")


def bootstrap_splits(
    chosen: Chosen, answers: Mapping[str, TaskAnswers], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> SplitBootstrap:
    """The groups of every chosen run but the frozen base's, in every draw."""
    frozen = next((key for key, run in chosen.runs.items() if run.cell.method == BASE.name), None)
    parts = {
        key: dict(zip(GROUPS, _groups_of(run), strict=True))
        for key, run in chosen.runs.items()
        if key != frozen
    }
    wanted = {(key, tasks) for key, own in parts.items() for tasks in own.values() if tasks}
    if frozen is not None:
        wanted |= {(frozen, tasks) for _, tasks in wanted}
    means = _draw_means(answers, wanted, num_draws=num_draws, seed=seed)

    def bootstrap(group: Group, origin: str | None) -> Bootstrap:
        """The runs that have tasks in the group, less the run `origin` on the same tasks."""
        tasks_of = {key: own[group] for key, own in parts.items() if own[group]}
        draws, points = {}, {}
        for key, tasks in tasks_of.items():
            draws[key], points[key] = means[key, tasks]
            if origin is not None:
                below_D, below = means[origin, tasks]
                draws[key], points[key] = draws[key] - below_D, points[key] - below
        members = {
            cell: {each: key for each, key in runs.items() if key in tasks_of}
            for cell, runs in chosen.members.items()
        }
        return Bootstrap({cell: runs for cell, runs in members.items() if runs}, draws, points, seed)

    rise = {} if frozen is None else {group: bootstrap(group, frozen) for group in GROUPS}
    return SplitBootstrap({group: bootstrap(group, None) for group in GROUPS}, rise)


def _groups_of(run: Run) -> tuple[frozenset[str], frozenset[str]]:
    """The run's tasks by GROUPS."""
    unseen = frozenset(run.without_rows)
    return frozenset(run.tasks) - unseen, unseen


def _draw_means(
    answers: Mapping[str, TaskAnswers], wanted: Iterable[_Series], *, num_draws: int, seed: int
) -> dict[_Series, tuple[np.ndarray, float]]:
    """(D,) draws, and the undrawn value, of the mean accuracy of each run over each set of tasks."""
    series = list(wanted)
    keys = sorted({key for key, _ in series})
    sums = {each: np.zeros(num_draws) for each in series}
    points: dict[_Series, list[float]] = {each: [] for each in series}
    for drawn in draw_scores(answers, keys, ACCURACY, num_draws=num_draws, seed=seed):
        value_RD = np.ascontiguousarray(drawn.value_DR.T)
        for key, tasks in series:
            if drawn.task in tasks:
                place = keys.index(key)
                sums[key, tasks] += value_RD[place] / len(tasks)
                points[key, tasks].append(float(drawn.point_R[place]))
    means = {}
    for key, tasks in series:
        point_T1 = np.array(points[key, tasks])[:, None]
        change_D1 = change_by_tasks(point_T1, sorted(tasks), num_draws=num_draws, seed=seed)
        means[key, tasks] = sums[key, tasks] + change_D1[:, 0], float(point_T1.mean())
    return means


MIN_PLACES = 2
"""Fewer places than this on an axis are points, not a curve."""


@dataclass(frozen=True)
class SplitCurve:
    """The splits of one method by ascending place on an axis."""

    places: tuple[int, ...]
    splits: tuple[TaskSplit, ...]

    @property
    def variant(self) -> MethodKey:
        """The variant of its first split: its splits differ in their labels at most."""
        return self.splits[0].cell.variant

    @property
    def is_port(self) -> bool:
        return self.splits[0].is_port


@dataclass(frozen=True)
class SplitPanel:
    """Curves along one axis for one value of the other, `fixed`; ports come first."""

    fixed: int
    curves: tuple[SplitCurve, ...]


def curves_over_rows(splits: Sequence[TaskSplit]) -> tuple[SplitPanel, ...]:
    """By number of calibrated tasks, descending: splits with tasks without a row over rows per task."""
    partial = [split for split in splits if split.is_partial]
    return tuple(_panels(partial, lambda split: split.num_calibrated, lambda split: split.cell.size))[::-1]


def curves_over_tasks(splits: Sequence[TaskSplit]) -> tuple[SplitPanel, ...]:
    """By rows per calibrated task, ascending: splits over the number of calibrated tasks."""
    return tuple(_panels(splits, lambda split: split.cell.size, lambda split: split.num_calibrated))


def curves_beside(split: TaskSplit, splits: Sequence[TaskSplit]) -> SplitPanel:
    """Every curve over rows per task, of one size too, with as many calibrated tasks as the split."""
    alike = [each for each in splits if each.is_partial and each.num_calibrated == split.num_calibrated]
    sized = [each for each in alike if each.cell.size is not None]
    return _panel(sized, split.num_calibrated, lambda each: each.cell.size)


_Place = Callable[[TaskSplit], int | None]


def _panels(splits: Sequence[TaskSplit], fixed: _Place, place: _Place) -> Iterator[SplitPanel]:
    """The panels in which a port has a curve, by ascending value of what is fixed."""
    known = [split for split in splits if fixed(split) is not None and place(split) is not None]
    for value in sorted({fixed(split) or 0 for split in known}):
        panel = _panel([split for split in known if fixed(split) == value], value, place)
        if any(curve.is_port and len(curve.places) >= MIN_PLACES for curve in panel.curves):
            yield panel


def _panel(splits: Sequence[TaskSplit], value: int, place: _Place) -> SplitPanel:
    curves = _curves(splits, place)
    return SplitPanel(value, tuple(sorted(curves, key=lambda curve: not curve.is_port)))


def _curves(splits: Sequence[TaskSplit], place: _Place) -> Iterator[SplitCurve]:
    """A curve for every method and shape; for every label where two of them would share a place."""
    by_shape: dict[object, list[TaskSplit]] = {}
    for split in splits:
        variant = split.cell.variant
        by_shape.setdefault(variant._replace(name=variant.method), []).append(split)
    for own in by_shape.values():
        if len({place(split) for split in own}) == len(own):
            yield _curve(own, place)
            continue
        for variant in dict.fromkeys(split.cell.variant for split in own):
            yield _curve([split for split in own if split.cell.variant == variant], place)


def _curve(splits: Sequence[TaskSplit], place: _Place) -> SplitCurve:
    ordered = sorted(splits, key=lambda split: place(split) or 0)
    return SplitCurve(tuple(place(split) or 0 for split in ordered), tuple(ordered))
