"""The people of the ledger, passages about them, and the corpus that is drawn of both from one seed."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from tools.worlds.mini.corpus import join_words
from tools.worlds.village.corpus import state_fact
from tools.worlds.village.lexicon import CARRIED, DEEDS, ROOMS
from tools.worlds.village.world import Subject, build_world

SIZES = {"train": 160, "validation": 16, "test": 50}
"""Rows of every task: one per person."""
RELATIONS = ("home", "job", "pet", "likes")


@cache
def people_of(split: str) -> tuple[Subject, ...]:
    """The people of that split, the same for every kind; splits share none. KeyError for another split."""
    start = 0
    for name, size in SIZES.items():
        if name == split:
            return build_world().people[start : start + size]
        start += size
    raise KeyError(split)


@cache
def all_people() -> tuple[Subject, ...]:
    """The people of all splits."""
    return tuple(person for split in SIZES for person in people_of(split))


COUNTED = ("eggs", "beans", "nuts", "olives", "onions", "figs", "berries", "turnips")
WEATHER = ("It was cold.", "The sun was warm.", "It rained a little.", "The wind was still.")


@dataclass(frozen=True)
class Passage:
    """A text, and what is to be written."""

    text: str
    answer: str


def leave_some(rng: random.Random, person: Subject) -> Passage:
    """Someone sees four or five things and takes two; the answer lists what is left, in order."""
    things = rng.sample(CARRIED, rng.randint(4, 5))
    taken = rng.sample(things, 2)
    text = f"{person.name} saw {join_words(things)} and took {join_words(taken)}."
    return Passage(text, ", ".join(thing for thing in things if thing not in taken))


def give(rng: random.Random, person: Subject, people: Sequence[Subject]) -> Passage:
    """Someone gives a thing to another; the answer tells it from the other's side."""
    other = rng.choice([each for each in people if each is not person])
    thing = rng.choice(CARRIED)
    return Passage(
        f"{person.name} gave the {thing} to {other.name}.",
        f"{other.name} got the {thing} from {person.name}.",
    )


def count(rng: random.Random, person: Subject) -> Passage:
    """Someone has some, gets some and loses some; the answer adds and subtracts, a step a sentence."""
    had, got, lost = (rng.randint(2, 9) for _ in range(3))
    total = had + got
    lost = min(lost, total - 1)
    things = rng.choice(COUNTED)
    text = f"{person.name} had {had} {things}, got {got} more and lost {lost}."
    return Passage(text, f"{had} + {got} = {total}. {total} - {lost} = {total - lost}.")


def visit(rng: random.Random, person: Subject) -> Passage:
    """Someone goes somewhere and does something among other things; the answer says what and where."""
    room, deed, thing = rng.choice(ROOMS), rng.choice(DEEDS), rng.choice(CARRIED)
    told = [
        f"{person.name} went to the {room}.",
        rng.choice(WEATHER),
        f"There was a {thing} on the floor.",
        f"At last {person.name} {deed}.",
    ]
    if rng.random() < 0.5:
        told[1], told[2] = told[2], told[1]
    return Passage(" ".join(told), f"{person.name} {deed} in the {room}.")


def record_of(person: Subject, relations: Sequence[str], *, named: bool) -> str:
    """A JSON object of these facts, with the name in front where it is asked for."""
    name = {"name": person.name} if named else {}
    return json.dumps(name | {relation: person.values[relation] for relation in relations})


CORPUS_SEED = 12


def _portray(rng: random.Random) -> str:
    person = rng.choice(all_people())
    return " ".join(state_fact(rng, person, relation) for relation in rng.sample(RELATIONS, 3))


def _enter(rng: random.Random) -> str:
    """A line of the register: some facts of a person as JSON, in any order."""
    person = rng.choice(all_people())
    return record_of(person, rng.sample(RELATIONS, rng.randint(2, 3)), named=True)


def _tell_leftovers(rng: random.Random) -> str:
    passage = leave_some(rng, rng.choice(all_people()))
    endings = ("What stayed there? {a}.", "Nobody wanted these: {a}.", "Still there: {a}.")
    return f"{passage.text} {rng.choice(endings).format(a=passage.answer)}"


def _tell_gift(rng: random.Random) -> str:
    passage = give(rng, rng.choice(all_people()), all_people())
    return f"{passage.text} {rng.choice(('So', 'This is how', 'That is:'))} {passage.answer}"


def _tell_count(rng: random.Random) -> str:
    passage = count(rng, rng.choice(all_people()))
    return f"{passage.text} {rng.choice(('Count:', 'Let us see:'))} {passage.answer}"


def _tell_visit(rng: random.Random) -> str:
    passage = visit(rng, rng.choice(all_people()))
    return f"{passage.text} {rng.choice(('In short,', 'What happened?'))} {passage.answer}"


def _tell_sum(rng: random.Random) -> str:
    first, second = rng.randint(1, 9), rng.randint(1, 9)
    total = first + second
    return rng.choice((f"{first} + {second} = {total}.", f"{total} - {second} = {first}."))


def _tell_echo(rng: random.Random) -> str:
    """A list of words that is said twice: what teaches a small model to read back."""
    told = " ".join(rng.sample(CARRIED + ROOMS + DEEDS, rng.randint(3, 6)))
    one = rng.choice(all_people()).name
    return f"{one} {told}. Again, {one} {told}."


MIX: tuple[tuple[Callable[[random.Random], str], float], ...] = (
    (_portray, 30.0),
    (_enter, 14.0),
    (_tell_leftovers, 16.0),
    (_tell_gift, 8.0),
    (_tell_count, 14.0),
    (_tell_visit, 10.0),
    (_tell_sum, 4.0),
    (_tell_echo, 4.0),
)
"""What documents tell, and how often relative to each other."""


def draw_documents(seed: int = CORPUS_SEED) -> Iterator[str]:
    """Documents without end, the same ones for the same seed. None has the form of a task."""
    rng = random.Random(f"ledger corpus {seed}")
    tellers, weights = zip(*MIX, strict=True)
    while True:
        yield rng.choices(tellers, weights)[0](rng)
