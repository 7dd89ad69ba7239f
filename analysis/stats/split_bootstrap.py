"""`SplitBootstrap`: intervals of means over the calibrated tasks of each run, and over those without a row.

A draw resamples tasks, clusters of rows and seeds (bootstrap.py); a task that is in one group with one seed
and in the other with another is drawn equally often in both. Shapes: D draws, R runs, T tasks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.stats.answers import TaskAnswers
from analysis.stats.bootstrap import (
    ACCURACY,
    LEVEL,
    Bootstrap,
    Chosen,
    Interval,
    change_by_tasks,
    draw_scores,
    interval_of,
)
from analysis.stats.resampling import NUM_DRAWS
from analysis.stats.result_table import Cell, Run
from analysis.stats.task_split import TaskSplit
from portal.methods import BASE

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
