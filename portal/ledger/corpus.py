"""The plain-text corpus of the ledger: short documents, drawn without end from one seed."""

import random
from collections.abc import Callable, Iterator

from portal.ledger.passages import count, give, leave_some, record_of, visit
from portal.ledger.people import RELATIONS, all_people
from portal.village.facts import state_fact
from portal.village.lexicon import CARRIED, DEEDS, ROOMS

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
