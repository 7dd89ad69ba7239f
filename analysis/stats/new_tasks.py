"""`NewTasks`: what methods reach on tasks that no source had, by how many tasks their source had."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from analysis.stats.aggregate import Comparison, MethodSummary, compare
from analysis.stats.bootstrap import Bootstrap, Interval, bootstrap_cells
from analysis.stats.epoch_selection import KEPT
from analysis.stats.lift_intervals import accuracy_interval, lift_interval
from analysis.stats.result_table import Cell, ResultSet
from portal.methods import LORA
from portal.results import StudyInfo


@dataclass(frozen=True)
class TaskSet:
    """Some of a study's new tasks, and everything on a base scored on them alone, at the epoch it keeps.

    Draws are over tasks, subjects and seeds. `title` is `known kinds`, say.
    """

    title: str
    tasks: tuple[str, ...]
    comparison: Comparison
    bootstrap: Bootstrap | None


@dataclass(frozen=True)
class Place:
    """Where a cell stands: how many tasks and kinds of tasks its source had; None without a source."""

    cell: Cell
    tasks: int | None
    kinds: int | None

    @property
    def is_main(self) -> bool:
        """Whether its tasks have latents of their own: taught, described or carried."""
        spec = self.cell.spec
        return (spec.teaches and not spec.lends_latents) or spec.own_latents

    @property
    def is_control(self) -> bool:
        """Whether it has a source, or its tasks, but no latent of a new task's own."""
        return self.tasks is not None and not self.is_main


@dataclass(frozen=True)
class Score:
    """A cell on a set of tasks: accuracy and share of the LoRA's lift, with their intervals."""

    summary: MethodSummary
    accuracy: Interval | None
    lift: Interval | None


@dataclass(frozen=True)
class NewTasks:
    """The cells of a base, methods by rows by number of source tasks, and the sets that they are scored on.

    `names` are of the places: the method's alone where that tells its cells apart.
    """

    places: tuple[Place, ...]
    names: Mapping[Cell, str]
    sets: tuple[TaskSet, ...]

    def score(self, place: Place, tasks: TaskSet) -> Score | None:
        """None where the cell has no score of these tasks."""
        summary = next((each for each in tasks.comparison.summaries if each.cell == place.cell), None)
        if summary is None or summary.acc.mean is None:
            return None
        interval = lift_interval(summary, tasks.comparison, tasks.bootstrap)
        return Score(summary, accuracy_interval(summary, tasks.bootstrap), interval)

    def controls_of(self, place: Place) -> tuple[Place, ...]:
        """The controls whose source had as many tasks."""
        return tuple(each for each in self.places if each.is_control and each.tasks == place.tasks)


def find_new_tasks(
    study: ResultSet, base: str, info: StudyInfo, predictions: pa.Table | None
) -> NewTasks | None:
    """What is reached on `base`; None where the study has no new tasks, or no method with a source there."""
    sizes = {label: len(tasks) for label, tasks in info.source_tasks.items()}
    kinds = {
        label: {study.kinds[task] for task in tasks if task in study.kinds}
        for label, tasks in info.source_tasks.items()
    }
    sets = tuple(_sets(study, base, set().union(*kinds.values()), info.own_tasks, predictions))
    cells = dict.fromkeys(summary.cell for each in sets for summary in each.comparison.summaries)
    places = [
        Place(cell, sizes.get(cell.variant.name), len(kinds.get(cell.variant.name, ())) or None)
        for cell in cells
        if cell.variant.name in sizes or cell.method == LORA.name
    ]
    if all(place.tasks is None for place in places):
        return None
    places.sort(key=_order)
    return NewTasks(tuple(places), _names(places), sets)


def _sets(
    study: ResultSet, base: str, known: set[str], tasks: tuple[str, ...], predictions: pa.Table | None
) -> Iterator[TaskSet]:
    """The tasks of kinds that some source had, and the others."""
    groups = {
        "known kinds": tuple(task for task in tasks if study.kinds.get(task) in known),
        "new kinds": tuple(task for task in tasks if study.kinds.get(task) not in known),
    }
    for title, own in groups.items():
        part = study.of_tasks(own)
        if own and any(run.cell.base == base and run.tasks for run in part.runs):
            comparison = compare(part, base, KEPT)
            yield TaskSet(title, own, comparison, bootstrap_cells(part, comparison, predictions))


def _order(place: Place) -> tuple[int, str, int, int]:
    return place.cell.spec.order, place.cell.method, place.cell.size or 0, place.tasks or 0


def _names(places: list[Place]) -> dict[Cell, str]:
    spots = [(place.cell.method, place.cell.size, place.tasks) for place in places]
    is_alone = len(set(spots)) == len(spots)
    return {place.cell: place.cell.spec.label if is_alone else place.cell.variant.label for place in places}
