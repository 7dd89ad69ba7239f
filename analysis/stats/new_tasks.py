"""`NewTasks`: what methods reach on tasks that no source had, by how many tasks their source had."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import pyarrow as pa

from analysis.stats.aggregate import KEPT, Comparison, MethodSummary, compare
from analysis.stats.bootstrap import (
    ACCURACY,
    Bootstrap,
    Interval,
    accuracy_interval,
    bootstrap_cells,
    lift_interval,
)
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
    kinds: Mapping[str, int]  # how many of the tasks are of each kind, of those that have one
    comparison: Comparison
    bootstrap: Bootstrap | None
    scores: Mapping[Cell, Score]

    @property
    def slug(self) -> str:
        """The title in names of files."""
        return re.sub(r"[^a-z0-9]+", "-", self.title).strip("-")

    def lead(self, place: "Place", against: "Place") -> Interval | None:
        """The score of one place less another's; None without shared seeds or predictions."""
        if self.bootstrap is None:
            return None
        return self.bootstrap.known_difference(place.cell, against.cell)

    def of_kinds(self, kinds: Collection[str]) -> int:
        """How many of the tasks are of one of these kinds."""
        return sum(number for kind, number in self.kinds.items() if kind in kinds)


@dataclass(frozen=True)
class Place:
    """Where a cell stands: the tasks of its source, none without one, and the kinds that these are of.

    `family` is its label without what tells its source from others: `carried` of `carried-of35`, and
    `latents_of` that of what taught the latents that it carries. `lent` says whether its tasks have the
    latents of other tasks.
    """

    cell: Cell
    family: str
    source_tasks: frozenset[str]
    source_kinds: frozenset[str]
    latents_of: str | None = None
    lent: bool = False

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
        """Whether its tasks have latents of their own, and these alone: taught, described or carried."""
        spec = self.cell.spec
        return (spec.teaches or spec.own_latents) and not self.lent

    @property
    def is_control(self) -> bool:
        """Whether it has a source, or its tasks, but not just a latent of a new task's own."""
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

    @property
    def most_tasks(self) -> int:
        """The largest number of tasks of a source."""
        return max((place.num_tasks or 0 for place in self.places if place.is_main), default=0)

    def controls_of(self, place: Place) -> tuple[Place, ...]:
        """The controls whose source had the same tasks, of each kind of control those with as many rows.

        A carried latent of another task is a control of latents that were taught in the same way. Where none
        of its sizes has as many rows, the one with the nearest number is there.
        """
        families: dict[str, list[Place]] = defaultdict(list)
        for each in self.places:
            foreign = each.lent and not each.cell.spec.own_latents and each.latents_of
            if foreign and foreign != place.latents_of:
                continue
            if each.is_control and each.source_tasks == place.source_tasks:
                families[each.family].append(each)

        def apart(control: Place) -> int:
            return abs((control.rows or 0) - (place.rows or 0))

        return tuple(min(family, key=apart) for family in families.values())

    def rivals_of(self, place: Place) -> tuple[Place, ...]:
        """What a place is compared with: its controls, and with as many rows LoRAs and methods before it."""
        before = self.places[: self.places.index(place)]
        mains = [
            each for each in before
            if each.is_main and each.source_tasks == place.source_tasks and each.rows == place.rows
        ]  # fmt: skip
        loras = [each for each in self.places if each.cell.method == LORA.name and each.rows == place.rows]
        return (*self.controls_of(place), *mains, *loras)

    def half_way(self, tasks: TaskSet, family: str) -> "Reached | None":
        """From which source on a main method, with its most rows, has half of the LoRA's lift.

        None where it has one source only, or no lift.
        """
        places = [place for place in self.places if place.family == family and place.is_main]
        most = max((place.rows or 0 for place in places), default=0)
        lifts = {
            place: score.summary.lift.value
            for place in sorted(places, key=lambda place: place.num_tasks or 0)
            if (place.rows or 0) == most
            and (score := tasks.scores.get(place.cell)) is not None
            and score.summary.lift.value is not None
        }
        if len(lifts) < 2:
            return None
        first = next((place for place in lifts if all(_half(lifts, place))), None)
        best = max(lifts, key=lambda place: lifts[place])
        return Reached(first, best, lifts[best])


def _half(lifts: Mapping[Place, float], start: Place) -> Iterator[bool]:
    """Whether each source from this one on reaches half."""
    larger = (lift for place, lift in lifts.items() if (place.num_tasks or 0) >= (start.num_tasks or 0))
    return (lift >= 0.5 for lift in larger)


@dataclass(frozen=True)
class Reached:
    """The smallest source from which on half of the lift is there, if any; the best one, and its lift."""

    first: Place | None
    best: Place
    lift: float


def find_new_tasks(
    study: ResultSet, base: str, info: StudyInfo, predictions: pa.Table | None
) -> NewTasks | None:
    """What is reached on `base`; None where the study has no new tasks, or no method with a source there."""
    if not info.source_tasks:
        return None
    sets = tuple(_sets(study, base, info, predictions))
    cells = dict.fromkeys(summary.cell for each in sets for summary in each.comparison.summaries)
    families = find_families(info.source_tasks)
    specs = {run.cell.variant.name: run.cell.spec for run in study.runs}
    places = []
    for cell in cells:
        label = cell.variant.name
        if label in families or cell.method in (BASE.name, LORA.name):
            tasks = frozenset(info.source_tasks.get(label, ()))
            kinds = frozenset(study.kinds[task] for task in tasks if task in study.kinds)
            taught = info.latents_of.get(label)
            lent = cell.spec.lends_latents or (taught in specs and specs[taught].lends_latents)
            of = None if taught is None else families.get(taught, taught)
            places.append(Place(cell, families.get(label, label), tasks, kinds, of, lent))
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


def _sets(study: ResultSet, base: str, info: StudyInfo, predictions: pa.Table | None) -> Iterator[TaskSet]:
    """The tasks of kinds that some source had, by group; of kinds that every source had; the others."""
    for title, tasks in _divide(study.kinds, info).items():
        part = study.of_tasks(tasks)
        if any(run.cell.base == base and run.tasks for run in part.runs):
            comparison = compare(part, base, KEPT)
            drawn = bootstrap_cells(part, comparison, predictions, {"acc": ACCURACY}).get("acc")
            kinds = Counter(study.kinds[task] for task in tasks if task in study.kinds)
            yield TaskSet(title, tasks, kinds, comparison, drawn, _scores(comparison, drawn))


def _divide(kinds: Mapping[str, str], info: StudyInfo) -> dict[str, tuple[str, ...]]:
    """The study's tasks by title; none is empty."""
    known_by = [
        frozenset(kinds[task] for task in tasks if task in kinds)
        for tasks in dict.fromkeys(info.source_tasks.values())
    ]
    some, every = frozenset[str]().union(*known_by), frozenset[str].intersection(*known_by)
    known = tuple(task for task in info.own_tasks if kinds.get(task) in some)
    sets = _by_group("new tasks of known kinds", known, info.task_groups)
    of_every = tuple(task for task in known if kinds[task] in every)
    if of_every != known:
        sets["new tasks of kinds that every source had"] = of_every
    others = tuple(task for task in info.own_tasks if task in kinds and kinds[task] not in some)
    sets |= _by_group("new tasks of new kinds", others, info.task_groups)
    sets["new tasks"] = tuple(task for task in info.own_tasks if task not in kinds)
    return {title: tasks for title, tasks in sets.items() if tasks}


def _by_group(
    title: str, tasks: tuple[str, ...], groups: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The tasks by the study's groups, in the order of the tasks, where they are of several; else all."""
    parts: dict[str, tuple[str, ...]] = {}
    for task in tasks:
        name = next((name for name, group in groups.items() if task in group), "others")
        parts[name] = (*parts.get(name, ()), task)
    if len(parts) < 2:
        return {title: tasks}
    return {f"{title} ({name})": own for name, own in parts.items()}


def _scores(comparison: Comparison, drawn: Bootstrap | None) -> dict[Cell, Score]:
    return {
        each.cell: Score(each, accuracy_interval(each, drawn), lift_interval(each, comparison, drawn))
        for each in comparison.summaries
        if each.acc.mean is not None
    }


def _order(place: Place) -> tuple[int, str, str, int, int]:
    cell = place.cell
    return cell.spec.order, cell.method, place.family, cell.size or 0, place.num_tasks or 0
