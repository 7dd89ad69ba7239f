"""The tasks of the ledger (prompt set "ledger"): six kinds of written answers, each in several frames."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from portal.answers import AnswerConfig
from portal.ledger.passages import Passage, count, give, leave_some, record_of, visit
from portal.ledger.people import SIZES, people_of
from portal.tasks.example import Example, Written, check_drawn
from portal.village.frames import SHAPES, markers
from portal.village.world import Subject

Ask = Callable[[random.Random, Subject, str], Passage]
"""From a person and their split to what is asked and what is to be written."""
_NUM_SHAPES, _SOURCE_SHAPES = 8, 6
"""Shapes of every kind; the first are those of source tasks, the others of new ones."""


@dataclass(frozen=True)
class Kind:
    """A skill, its question about a person, and how answers are judged."""

    name: str
    ask: Ask
    answers: AnswerConfig


def _judged(metric: str, max_new_tokens: int) -> AnswerConfig:
    return AnswerConfig(metric=metric, max_new_tokens=max_new_tokens)


def _ask_home(_rng: random.Random, person: Subject, _split: str) -> Passage:
    return Passage(person.name, person.values["home"])


def _ask_record(_rng: random.Random, person: Subject, _split: str) -> Passage:
    return Passage(person.name, record_of(person, ("home", "job"), named=False))


KINDS = (
    Kind("home", _ask_home, _judged("exact_match", 8)),
    Kind("leftovers", lambda rng, person, _: leave_some(rng, person), _judged("token_f1", 20)),
    Kind("record", _ask_record, _judged("json_f1", 32)),
    Kind("gift", lambda rng, person, split: give(rng, person, people_of(split)), _judged("exact_match", 20)),
    Kind("count", lambda rng, person, _: count(rng, person), _judged("numeric_match", 32)),
    Kind("visit", lambda rng, person, _: visit(rng, person), _judged("rouge_l", 20)),
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
GROUPS: dict[str, tuple[str, ...]] = {
    "written-6": LEDGER_TASKS[: len(KINDS)],
    "written-24": LEDGER_TASKS[: 4 * len(KINDS)],
    "written-36": LEDGER_TASKS[: _SOURCE_SHAPES * len(KINDS)],
    "written-new": LEDGER_TASKS[_SOURCE_SHAPES * len(KINDS) :],
}
"""Source tasks, each group inside the next, and new tasks of the same kinds."""


def kind_of(task: str) -> str:
    """The name of the task's kind; KeyError for an unknown task."""
    return _TASKS[task].kind.name


def answers_of(task: str) -> AnswerConfig | None:
    """How answers to the task are judged; None for a task of another suite."""
    return _TASKS[task].kind.answers if task in _TASKS else None


def ledger_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, one per person, the same everywhere.

    Raises ValueError for an unknown task or split.
    """
    check_drawn(task, split, _TASKS)
    return list(_draw_split(task, split))


@cache
def _draw_split(task: str, split: str) -> tuple[Example, ...]:
    """One question per person of the split, in an order of the task's own."""
    own, rng = _TASKS[task], random.Random(f"{task} {split}")
    people = rng.sample(people_of(split), SIZES[split])
    drawn = [(person, own.kind.ask(rng, person, split)) for person in people]
    return tuple(
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
    )
