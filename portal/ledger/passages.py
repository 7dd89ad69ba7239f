"""`Passage`: a short text and what can be written about it: what is left, who got what, a sum, a summary."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from portal.mini.stories import join_words
from portal.village.lexicon import CARRIED, DEEDS, ROOMS
from portal.village.world import Subject

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
