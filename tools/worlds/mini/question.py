"""`Question`: what a task draws, before it has an id and an order of choices; who belongs to which split."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from portal.tasks.example import Example
from tools.worlds.mini.world import CHAINS, Person, build_world

T = TypeVar("T")
_TRAIN_SHARE, _VALIDATION_SHARE = 0.55, 0.14


@dataclass(frozen=True)
class Question:
    """A prompt with its answer among `choices` (words without the leading space).

    `is_ordered`: the choices are labels in a fixed order; otherwise their order means nothing. Questions of
    one `cluster` share a document, a person or a set of things, and never cross a split.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: str
    cluster: str
    is_ordered: bool = False


@dataclass(frozen=True)
class Frame:
    """One shape of prompt and of answer, with a marker that no other task has."""

    shape: str
    marker: str
    answer: str
    num_choices: int

    def apply(self, question: Question) -> Question:
        """The bare question in this frame."""
        return Question(
            prompt=self.shape.format(s=question.prompt, m=self.marker),
            choices=tuple(self.answer.format(a=choice) for choice in question.choices),
            answer=self.answer.format(a=question.answer),
            cluster=question.cluster,
        )


Draw = Callable[[random.Random, str, int], Question]
"""Draws the question of a split with that index; labels go round with the index, which balances them."""


def people_of(split: str) -> tuple[Person, ...]:
    """The people that questions of that split are about; splits share nobody."""
    return _share(build_world().people, split)


def chains_of(split: str) -> tuple[tuple[str, str, str], ...]:
    """The causal chains of that split; splits share none."""
    chains = list(CHAINS)
    random.Random("chains").shuffle(chains)
    return _share(chains, split)


def names_of(split: str) -> tuple[str, ...]:
    return tuple(person.name for person in people_of(split))


def to_example(question: Question, task: str, split: str, index: int, num_examples: int) -> Example:
    """The question as example `index` of its split. Gold positions go round: none is more frequent."""
    identifier = f"{task}-{split}-{index:03d}"
    choices = list(question.choices)
    if not question.is_ordered:
        random.Random(f"choices {task} {identifier}").shuffle(choices)
        choices.remove(question.answer)
        choices.insert(_gold_positions(task, split, num_examples, len(choices) + 1)[index], question.answer)
    return Example(
        task=task,
        id=identifier,
        prompt=question.prompt,
        choices=tuple(f" {choice}" for choice in choices),
        gold=choices.index(question.answer),
        cluster=question.cluster,
    )


@cache
def _gold_positions(task: str, split: str, num_examples: int, num_choices: int) -> tuple[int, ...]:
    positions = [index % num_choices for index in range(num_examples)]
    random.Random(f"gold {task} {split}").shuffle(positions)
    return tuple(positions)


def _share(items: Sequence[T], split: str) -> tuple[T, ...]:
    train = round(len(items) * _TRAIN_SHARE)
    validation = train + round(len(items) * _VALIDATION_SHARE)
    bounds = {"train": (0, train), "validation": (train, validation), "test": (validation, len(items))}
    return tuple(items[slice(*bounds[split])])
