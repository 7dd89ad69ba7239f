"""The tasks of `words` (prompt set "words"): every relation in many frames, and groups of them by name."""

import random
from dataclasses import dataclass
from functools import cache

from portal.mini.question import to_example
from portal.tasks.descriptions import Descriptions
from portal.tasks.example import Example, check_drawn
from portal.words.descriptions import describe_relation
from portal.words.frames import ANSWERS, SHAPES, Frame, markers
from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS, Relation

_SOURCE_SHAPES = 6
"""Known relations have these shapes in source tasks, and the others in new tasks."""
_NEW_RELATION_SHAPES = 4
_NUMBERS_OF_CHOICES = (3, 4, 5)


@dataclass(frozen=True)
class WordTask:
    """A relation in a frame. Tasks of a relation share its subjects, splits and answers."""

    name: str
    relation: Relation
    frame: Frame


def _source_places() -> list[tuple[Relation, int]]:
    """Round by round one task of every relation, in different shapes: any prefix is balanced."""
    return [
        (relation, (place + turn) % _SOURCE_SHAPES)
        for turn in range(_SOURCE_SHAPES)
        for place, relation in enumerate(KNOWN_RELATIONS)
    ]


def _build_tasks() -> dict[str, WordTask]:
    places = _source_places()
    places += [(known, shape) for shape in range(_SOURCE_SHAPES, len(SHAPES)) for known in KNOWN_RELATIONS]
    places += [(new, shape) for shape in range(_NEW_RELATION_SHAPES) for new in NEW_RELATIONS]
    relations = (*KNOWN_RELATIONS, *NEW_RELATIONS)
    built = {}
    for (relation, shape), marker in zip(places, markers(len(places)), strict=True):
        turn = shape + relations.index(relation)
        answer = ANSWERS[turn % len(ANSWERS)]
        num_choices = _NUMBERS_OF_CHOICES[turn % len(_NUMBERS_OF_CHOICES)]
        name = f"{relation.name}_{shape + 1:02d}"
        built[name] = WordTask(name, relation, Frame(SHAPES[shape], marker, answer, num_choices))
    return built


_TASKS = _build_tasks()
WORD_TASKS = tuple(_TASKS)
_NUM_SOURCE = len(KNOWN_RELATIONS) * _SOURCE_SHAPES
_NUM_KNOWN = len(KNOWN_RELATIONS) * len(SHAPES)
_OF_SEARCHES = (
    "category",
    "comparative",
    "state_capital",
    "nationality",
    "gerund",
    "ordinal",
    "animal_class",
    "german",
)
"""Known relations that are searched on and not reported. But for the states their subjects (countries, verbs,
nouns, numbers, animals, adjectives, things) are also those of relations that are."""


def _rounds(number: int, *, of_searches: bool) -> tuple[str, ...]:
    """That many tasks of each relation that searches have, or of each of the others."""
    tasks = WORD_TASKS[: number * len(KNOWN_RELATIONS)]
    return tuple(task for task in tasks if (kind_of(task) in _OF_SEARCHES) == of_searches)


def kind_of(task: str) -> str:
    """The name of the task's relation; KeyError for an unknown task."""
    return _TASKS[task].relation.name


def descriptions_of(task: str) -> Descriptions:
    """What is said of the task; those of a relation differ at most in the form of their choices."""
    return describe_relation(kind_of(task), _TASKS[task].frame.answer)


GROUPS: dict[str, tuple[str, ...]] = {
    **{f"words-{number}": WORD_TASKS[:number] for number in (24, 48, 96, _NUM_SOURCE)},
    "words-sixteen-relations": _rounds(3, of_searches=False),
    **{f"words-source-{number}": _rounds(3, of_searches=False)[:number] for number in (11, 35)},
    "words-search-16": _rounds(2, of_searches=True),
    "words-new-frames": WORD_TASKS[_NUM_SOURCE:_NUM_KNOWN],
    "words-new-kinds": WORD_TASKS[_NUM_KNOWN:],
    "words-one-each": (
        *WORD_TASKS[: len(KNOWN_RELATIONS)],
        *WORD_TASKS[_NUM_KNOWN : _NUM_KNOWN + len(NEW_RELATIONS)],
    ),
    "words-new-one-each": (
        *(
            task
            for task in WORD_TASKS[_NUM_SOURCE : _NUM_SOURCE + len(KNOWN_RELATIONS)]
            if kind_of(task) not in _OF_SEARCHES
        ),
        *WORD_TASKS[_NUM_KNOWN : _NUM_KNOWN + len(NEW_RELATIONS)],
    ),
}
"""Source tasks, each group inside the next; of them three each of sixteen relations, for studies, and the
first of these; two each of the other eight, for searches; new tasks of known relations; tasks of new
relations; one task of every relation; one new task of each of the sixteen relations and of every new one."""


def word_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, one per subject, the same everywhere.

    Raises ValueError for an unknown task or split.
    """
    check_drawn(task, split, _TASKS)
    return list(_draw_split(task, split))


@cache
def _draw_split(task: str, split: str) -> tuple[Example, ...]:
    """One question per subject of the split, in an order of the task's own."""
    word_task, rng = _TASKS[task], random.Random(f"words {task} {split}")
    relation, frame = word_task.relation, word_task.frame
    facts = relation.facts(split)
    asked = [
        frame.apply(relation.ask(rng, fact, frame.num_choices)) for fact in rng.sample(facts, len(facts))
    ]
    return tuple(to_example(question, task, split, index, len(asked)) for index, question in enumerate(asked))
