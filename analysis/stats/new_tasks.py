"""`NewTasks`: what methods reach on tasks that no source had, by how many tasks their source had."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import pyarrow as pa

from analysis.stats.aggregate import Comparison, MethodSummary, compare
from analysis.stats.bootstrap import ACCURACY, Bootstrap, Interval, bootstrap_cells
from analysis.stats.epoch_selection import KEPT
from analysis.stats.lift_intervals import accuracy_interval, lift_interval
from analysis.stats.result_table import Cell, ResultSet
from portal.methods import BASE, LORA
from portal.results import StudyInfo


@dataclass(frozen=True)
class Score:
    """A cell on a set of tasks: accuracy and share of the LoRA's lift, with their intervals."""

    summary: MethodSummary
    accuracy: Interval | None
    lift: Interval | None


@dataclass(frozen=True)
class TaskSet:
    """Some of a study's new tasks, and everything on a base scored on them alone, at the epoch it keeps.

    Draws are over tasks, subjects and seeds. `title` is `new tasks of known kinds`, say. `scores` are of the
    cells that have any.
    """

    title: str
    tasks: tuple[str, ...]
    comparison: Comparison
    bootstrap: Bootstrap | None
    scores: Mapping[Cell, Score]


@dataclass(frozen=True)
class Place:
    """Where a cell stands: the tasks of its source, none without one, and how many kinds these are of.

    `family` is its label without what tells its source from others: `carried` of `carried-of35`.
    """

    cell: Cell
    family: str
    source_tasks: frozenset[str]
    num_kinds: int

    @property
    def num_tasks(self) -> int | None:
        """How many tasks its source had; None without a source."""
        return len(self.source_tasks) or None

    @property
    def rows(self) -> int | None:
        """Rows of a new task that it saw, here or where its latents were taught; None without such rows."""
        spec = self.cell.spec
        sees = spec.teaches or bool(spec.latents_of) or spec.name == LORA.name
        return self.cell.size if sees else None

    @property
    def is_main(self) -> bool:
        """Whether its tasks have latents of their own: taught, described or carried."""
        spec = self.cell.spec
        return (spec.teaches and not spec.lends_latents) or spec.own_latents

    @property
    def is_control(self) -> bool:
        """Whether it has a source, or its tasks, but no latent of a new task's own."""
        return bool(self.source_tasks) and not self.is_main


@dataclass(frozen=True)
class NewTasks:
    """The cells of a base that have a source, its base and LoRAs, and the sets that they are scored on."""

    places: tuple[Place, ...]
    sets: tuple[TaskSet, ...]

    def name(self, place: Place) -> str:
        """The method's, with the family's where the method has several."""
        method = place.cell.method
        families = {each.family for each in self.places if each.cell.method == method}
        label = place.cell.spec.label
        return label if len(families) == 1 else f"{label} ({place.family})"

    def controls_of(self, place: Place) -> tuple[Place, ...]:
        """The controls whose source had the same tasks."""
        alike = (each for each in self.places if each.source_tasks == place.source_tasks)
        return tuple(each for each in alike if each.is_control)


def find_new_tasks(
    study: ResultSet, base: str, info: StudyInfo, predictions: pa.Table | None
) -> NewTasks | None:
    """What is reached on `base`; None where the study has no new tasks, or no method with a source there."""
    known = frozenset(task for tasks in info.source_tasks.values() for task in tasks)
    sets = tuple(_sets(study, base, known, info.own_tasks, predictions))
    cells = dict.fromkeys(summary.cell for each in sets for summary in each.comparison.summaries)
    families = find_families(info.source_tasks)
    places = []
    for cell in cells:
        label = cell.variant.name
        if label in families or cell.method in (BASE.name, LORA.name):
            tasks = frozenset(info.source_tasks.get(label, ()))
            kinds = {study.kinds[task] for task in tasks if task in study.kinds}
            places.append(Place(cell, families.get(label, label), tasks, len(kinds)))
    if not any(place.source_tasks for place in places):
        return None
    return NewTasks(tuple(sorted(places, key=_order)), sets)


def find_families(source_tasks: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By label, the label without the parts at its end that all labels with the same source tasks share."""
    groups: dict[frozenset[str], list[list[str]]] = defaultdict(list)
    for label, tasks in source_tasks.items():
        groups[frozenset(tasks)].append(label.split("-"))
    families: dict[str, str] = {}
    for labels in groups.values():
        shared = 0
        if len(labels) > 1:
            backwards = zip(*(parts[:0:-1] for parts in labels), strict=False)
            shared = sum(1 for _ in takewhile(lambda ends: len(set(ends)) == 1, backwards))
        families |= {"-".join(parts): "-".join(parts[: len(parts) - shared]) for parts in labels}
    return families


def _sets(
    study: ResultSet,
    base: str,
    source_tasks: frozenset[str],
    tasks: tuple[str, ...],
    predictions: pa.Table | None,
) -> Iterator[TaskSet]:
    """The tasks of kinds that some source had, those of other kinds, and those without a kind."""
    kinds = study.kinds
    known = {kinds[task] for task in source_tasks if task in kinds}
    groups = {
        "new tasks of known kinds": tuple(task for task in tasks if kinds.get(task) in known),
        "new tasks of new kinds": tuple(task for task in tasks if task in kinds and kinds[task] not in known),
        "new tasks": tuple(task for task in tasks if task not in kinds),
    }
    for title, own in groups.items():
        part = study.of_tasks(own)
        if own and any(run.cell.base == base and run.tasks for run in part.runs):
            comparison = compare(part, base, KEPT)
            drawn = bootstrap_cells(part, comparison, predictions, {"acc": ACCURACY}).get("acc")
            yield TaskSet(title, own, comparison, drawn, _scores(comparison, drawn))


def _scores(comparison: Comparison, drawn: Bootstrap | None) -> dict[Cell, Score]:
    return {
        each.cell: Score(each, accuracy_interval(each, drawn), lift_interval(each, comparison, drawn))
        for each in comparison.summaries
        if each.acc.mean is not None
    }


def _order(place: Place) -> tuple[int, str, str, int, int]:
    cell = place.cell
    return cell.spec.order, cell.method, place.family, cell.size or 0, place.num_tasks or 0
