"""The tasks of the village: eighteen kinds of questions, each in many frames, unlike the corpus."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from portal.tasks.example import Example
from tools.worlds.mini.question import Frame, Question, to_example
from tools.worlds.village.corpus import Story, leave_one, meet, order_two
from tools.worlds.village.world import Subject, build_world, inventory_of

SHAPES = (
    "{s} {m} =",
    "{m}({s}) ->",
    "[{m}] {s}:",
    "{s} | {m} |",
    "? {m} / {s}\n!",
    "{m} <- {s}\n=>",
    "<{m}> {s} </{m}>",
    "{s} ~ {m} ~",
    "# {s}\n{m}:",
    "{m} {m} {s} {m}",
    "* {s} * {m} *",
    "{s}; {m};",
)
"""Prompts: `{s}` is the subject or the short text, `{m}` a marker, a word that says nothing."""
ANSWERS = ("{a}", "it is {a}", "{a}.", "that is {a}", "and {a}", "as {a}")
"""What the choices look like: a space and one of these. The corpus has all of their words."""
NEW_ANSWERS = ("from {a}", "with {a}")
"""Likewise, in tasks whose style of answer no source task has."""
_LETTERS = "bcdfghjklmnpqrstvwxz"


@cache
def markers(number: int) -> tuple[str, ...]:
    """Different words of three consonants, which the corpus has not."""
    rng = random.Random("village markers")
    words: dict[str, None] = {}
    while len(words) < number:
        words["".join(rng.choice(_LETTERS) for _ in range(3))] = None
    return tuple(words)


SIZES = {"train": 448, "validation": 16, "test": 50}
"""Rows of every task: one per person, or one per thing."""
Ask = Callable[[random.Random, Sequence[Subject], int, int], Question]
"""A bare question about the subject at that index of a split, with that many choices."""


@dataclass(frozen=True)
class Kind:
    """What is asked, and about whom. Its tasks have one of `num_choices`."""

    name: str
    is_about_people: bool
    ask: Ask
    num_choices: tuple[int, ...] = (3, 4, 5)

    def subjects(self, split: str) -> tuple[Subject, ...]:
        """The people or things of that split, the same for every kind; splits share none."""
        start = 0
        for name, size in SIZES.items():
            if name == split:
                world = build_world()
                return (world.people if self.is_about_people else world.things)[start : start + size]
            start += size
        raise KeyError(split)


def _person(relation: str) -> Kind:
    return Kind(relation, True, partial(_ask_fact, relation, "{}"))


def _thing(relation: str) -> Kind:
    return Kind(relation, False, partial(_ask_fact, relation, "the {}"))


def _ask_fact(
    relation: str, form: str, rng: random.Random, subjects: Sequence[Subject], index: int, num_choices: int
) -> Question:
    """The answer, the subject's values of other relations that would fit as well, and strangers."""
    subject = subjects[index]
    answer, rivals = subject.values[relation], subject.rivals(relation)
    own = rng.sample(rivals, min(len(rivals), num_choices - 1))
    strangers = [word for word in inventory_of(relation) if word != answer and word not in rivals]
    others = rng.sample(strangers, num_choices - 1 - len(own))
    return Question(form.format(subject.name), (answer, *own, *others), answer, subject.name)


def _ask_leftover(rng: random.Random, subjects: Sequence[Subject], index: int, num_choices: int) -> Question:
    return _ask(leave_one(rng, subjects[index], num_choices), subjects[index])


def _ask_first(rng: random.Random, subjects: Sequence[Subject], index: int, num_choices: int) -> Question:
    return _ask(order_two(rng, subjects[index]), subjects[index])


def _ask_meeting(rng: random.Random, subjects: Sequence[Subject], index: int, num_choices: int) -> Question:
    """Who is met is of the same split, so no name of a test row stands in a training row."""
    return _ask(meet(rng, subjects[index], subjects), subjects[index])


def _ask(story: Story, subject: Subject) -> Question:
    return Question(story.text, (story.answer, *story.others), story.answer, subject.name)


KNOWN_KINDS = (
    _person("home"),
    _thing("colour"),
    _person("job"),
    Kind("leftover", True, _ask_leftover),
    _person("likes"),
    _thing("room"),
    _person("plays"),
    _thing("class"),
    _person("birthplace"),
    _person("pet"),
    _thing("material"),
    _person("friend_job"),
    Kind("first", True, _ask_first, (2,)),
    _person("hates"),
)
"""Kinds of the source tasks; any first few of them are of unlike subjects."""
NEW_KINDS = (
    _person("workplace"),
    _thing("origin"),
    _person("age"),
    Kind("meeting", True, _ask_meeting, (2,)),
)
"""Kinds that no source task has."""


@cache
def find_kind(name: str) -> Kind:
    """The kind of that name; KeyError when there is none."""
    return {kind.name: kind for kind in (*KNOWN_KINDS, *NEW_KINDS)}[name]


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


_TASKS = _build_tasks()
VILLAGE_TASKS = tuple(_TASKS)


def kind_of(task: str) -> str:
    """The name of the task's kind; KeyError for an unknown task."""
    return _TASKS[task].kind.name


def village_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split: one per subject, in an order of the task's own."""
    village_task, rng = _TASKS[task], random.Random(f"{task} {split}")
    kind, frame = village_task.kind, village_task.frame
    subjects = kind.subjects(split)
    order = rng.sample(range(len(subjects)), len(subjects))
    questions = [frame.apply(kind.ask(rng, subjects, index, frame.num_choices)) for index in order]
    return [
        to_example(question, task, split, index, SIZES[split]) for index, question in enumerate(questions)
    ]
