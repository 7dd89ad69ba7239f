"""The tasks of the ledger: six kinds of written answers, each in several frames."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from portal.tasks.example import Example, Written
from tools.worlds.ledger.corpus import SIZES, Passage, count, give, leave_some, people_of, record_of, visit
from tools.worlds.village.tasks import SHAPES, markers
from tools.worlds.village.world import Subject

Ask = Callable[[random.Random, Subject, str], Passage]
"""From a person and their split to what is asked and what is to be written."""
_NUM_SHAPES = 8
"""Shapes of every kind; the first six are those of source tasks, the others of new ones."""


@dataclass(frozen=True)
class Kind:
    """A skill and its question about a person."""

    name: str
    ask: Ask


def _ask_home(_rng: random.Random, person: Subject, _split: str) -> Passage:
    return Passage(person.name, person.values["home"])


def _ask_record(_rng: random.Random, person: Subject, _split: str) -> Passage:
    return Passage(person.name, record_of(person, ("home", "job"), named=False))


KINDS = (
    Kind("home", _ask_home),
    Kind("leftovers", lambda rng, person, _: leave_some(rng, person)),
    Kind("record", _ask_record),
    Kind("gift", lambda rng, person, split: give(rng, person, people_of(split))),
    Kind("count", lambda rng, person, _: count(rng, person)),
    Kind("visit", lambda rng, person, _: visit(rng, person)),
)
"""A short answer, a list, a JSON object of two fields, a rewriting, arithmetic in steps, and a summary."""


@dataclass(frozen=True)
class LedgerTask:
    """A kind in a shape of prompt, with a marker that no other task has."""

    kind: Kind
    shape: str
    marker: str


def _build_tasks() -> dict[str, LedgerTask]:
    """Round by round one task of every kind, so that any prefix is balanced."""
    places = [(kind, shape) for shape in range(_NUM_SHAPES) for kind in KINDS]
    return {
        f"{kind.name}_{shape + 1}": LedgerTask(kind, SHAPES[shape], marker)
        for (kind, shape), marker in zip(places, markers(len(places)), strict=True)
    }


_TASKS = _build_tasks()
LEDGER_TASKS = tuple(_TASKS)


def kind_of(task: str) -> str:
    """The name of the task's kind; KeyError for an unknown task."""
    return _TASKS[task].kind.name


def ledger_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split: one per person, in an order of the task's own."""
    own, rng = _TASKS[task], random.Random(f"{task} {split}")
    people = rng.sample(people_of(split), SIZES[split])
    drawn = [(person, own.kind.ask(rng, person, split)) for person in people]
    return [
        Example(
            task=task,
            id=f"{split}-{index:04d}",
            prompt=own.shape.format(s=passage.text, m=own.marker),
            choices=(f" {passage.answer}",),
            gold=0,
            cluster=person.name,
            written=Written((passage.answer,)),
        )
        for index, (person, passage) in enumerate(drawn)
    ]
