"""The tasks of the village (prompt set "village"): every kind in many frames, and groups of them by name."""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache

from portal.mini.question import to_example
from portal.tasks.descriptions import Descriptions
from portal.tasks.example import Example, check_drawn
from portal.village.descriptions import describe_kind
from portal.village.frames import ANSWERS, NEW_ANSWERS, SHAPES, Frame, markers
from portal.village.kinds import KNOWN_KINDS, NEW_KINDS, SIZES, Kind

_SOURCE_SHAPES = 10
"""Known kinds have these shapes in source tasks, and the others in new tasks."""
_NEW_KIND_SHAPES = 6


@dataclass(frozen=True)
class VillageTask:
    """A kind in a frame. Tasks of a kind share its subjects, splits and answers."""

    name: str
    kind: Kind
    frame: Frame


def _source_places() -> list[tuple[Kind, int]]:
    """Round by round one task of every kind, the kinds in different shapes: any prefix is balanced."""
    return [
        (kind, (place + turn) % _SOURCE_SHAPES)
        for turn in range(_SOURCE_SHAPES)
        for place, kind in enumerate(KNOWN_KINDS)
    ]


def _build_tasks() -> dict[str, VillageTask]:
    places = _source_places()
    places += [(kind, shape) for shape in range(_SOURCE_SHAPES, len(SHAPES)) for kind in KNOWN_KINDS]
    places += [(kind, shape) for shape in range(_NEW_KIND_SHAPES) for kind in NEW_KINDS]
    kinds, again = (*KNOWN_KINDS, *NEW_KINDS), places[: len(KNOWN_KINDS)]
    words = iter(markers(len(places) + len(again)))
    built = {}
    for kind, shape in places:
        turn = shape + kinds.index(kind)
        answer = ANSWERS[turn % len(ANSWERS)]
        num_choices = kind.num_choices[turn % len(kind.num_choices)]
        name = f"{kind.name}_{shape + 1:02d}"
        built[name] = VillageTask(name, kind, Frame(SHAPES[shape], next(words), answer, num_choices))
    for place, (kind, shape) in enumerate(again):
        first = built[f"{kind.name}_{shape + 1:02d}"].frame
        answer, name = NEW_ANSWERS[place % len(NEW_ANSWERS)], f"{kind.name}_{len(SHAPES) + 1:02d}"
        built[name] = VillageTask(name, kind, replace(first, marker=next(words), answer=answer))
    return built


def _of_kinds(tasks: Iterable[str], kinds: Collection[str]) -> tuple[str, ...]:
    return tuple(task for task in tasks if kind_of(task) in kinds)


_TASKS = _build_tasks()
VILLAGE_TASKS = tuple(_TASKS)
_NUM_SOURCE = len(KNOWN_KINDS) * _SOURCE_SHAPES
_NUM_KNOWN = len(KNOWN_KINDS) * len(SHAPES)
_NUM_FRAMES = _NUM_KNOWN + len(NEW_KINDS) * _NEW_KIND_SHAPES


def kind_of(task: str) -> str:
    """The name of the task's kind; KeyError for an unknown task."""
    return _TASKS[task].kind.name


def descriptions_of(task: str) -> Descriptions:
    """What is said of the task; those of a kind differ at most in the form of their choices.

    KeyError for an unknown task.
    """
    return describe_kind(kind_of(task), _TASKS[task].frame.answer)


_SOURCE_TASKS = VILLAGE_TASKS[:_NUM_SOURCE]
_REPORTED = ("home", "birthplace", "likes", "hates", "first", "room", "plays", "material")
_OF_SEARCHES = ("job", "friend_job", "leftover", "colour", "class")
"""Known kinds, divided so that both parts have kinds which choices tell apart, pairs which they do not (home
and birthplace are towns, and both stand among the choices), and short texts."""
GROUPS: dict[str, tuple[str, ...]] = {
    **{f"source-{number}": VILLAGE_TASKS[:number] for number in (5, 11, 35, 70, _NUM_SOURCE)},
    "eight-kinds": _of_kinds(_SOURCE_TASKS, _REPORTED),
    "nine-kinds": _of_kinds(VILLAGE_TASKS[: 4 * len(KNOWN_KINDS)], (*_REPORTED, "pet")),
    "search-25": _of_kinds(VILLAGE_TASKS[: 5 * len(KNOWN_KINDS)], _OF_SEARCHES),
    "search-50": _of_kinds(_SOURCE_TASKS, _OF_SEARCHES),
    "one-per-kind": (*VILLAGE_TASKS[: len(KNOWN_KINDS)], *VILLAGE_TASKS[_NUM_KNOWN:][: len(NEW_KINDS)]),
    "new-frames": VILLAGE_TASKS[_NUM_SOURCE:_NUM_KNOWN],
    "new-kinds": VILLAGE_TASKS[_NUM_KNOWN:_NUM_FRAMES],
    "new-answers": VILLAGE_TASKS[_NUM_FRAMES:],
}
"""Source tasks, each group inside the next; of them ten each of eight kinds, and four each of nine; for
searches five or ten each of the other five kinds; one task of every kind; new tasks of known kinds; tasks of
kinds that no source has; the first source task of each kind again, with a style of answer that none has."""


def village_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, one per subject, the same everywhere.

    Raises ValueError for an unknown task or split.
    """
    check_drawn(task, split, _TASKS)
    return list(_draw_split(task, split))


@cache
def _draw_split(task: str, split: str) -> tuple[Example, ...]:
    """One question per subject of the split, in an order of the task's own."""
    village_task, rng = _TASKS[task], random.Random(f"{task} {split}")
    kind, frame = village_task.kind, village_task.frame
    subjects = kind.subjects(split)
    order = rng.sample(range(len(subjects)), len(subjects))
    questions = [frame.apply(kind.ask(rng, subjects, index, frame.num_choices)) for index in order]
    return tuple(
        to_example(question, task, split, index, SIZES[split]) for index, question in enumerate(questions)
    )
