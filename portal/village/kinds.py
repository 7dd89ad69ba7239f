"""`Kind`: the eighteen skills that tasks of the village ask for; a task is a kind in a frame."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from portal.mini.question import Question
from portal.village.stories import Story, leave_one, meet, order_two
from portal.village.world import Subject, build_world, inventory_of

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
