"""`World`: the people of a small made-up world and all that is true of them, a pure function of its seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeVar

from portal.mini.lexicon import AGES, FOODS, JOBS, TOWNS

NUM_PEOPLE = 96
WORLD_SEED = 20
MIN_AGE_GAP = 2
"""People closer than this, in steps of AGES, are never compared."""
T = TypeVar("T")
_ONSETS, _MIDDLES, _VOWELS = "BDFGKLMNPRSTVZ", "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True)
class Person:
    """One person. Towns and foods of a person are distinct; `age` is an index into AGES."""

    name: str
    pronoun: str  # "he" or "she"
    home: str
    birthplace: str
    workplace: str
    job: str
    likes: str
    hates: str
    age: int
    friend: str  # the name of another person, with another job and another home

    @property
    def age_word(self) -> str:
        return AGES[self.age]


@dataclass(frozen=True)
class World:
    """All people, in a fixed order that carries no meaning."""

    people: tuple[Person, ...]

    def person(self, name: str) -> Person:
        """The person of that name; KeyError when there is none."""
        for person in self.people:
            if person.name == name:
                return person
        raise KeyError(name)

    def older_and_younger(self, one: Person, other: Person) -> tuple[Person, Person] | None:
        """The two by age, or None when they are too close in age to compare."""
        if abs(one.age - other.age) < MIN_AGE_GAP:
            return None
        return (one, other) if one.age > other.age else (other, one)

    def friend_of(self, person: Person) -> Person:
        return self.person(person.friend)


@cache
def build_world(seed: int = WORLD_SEED) -> World:
    """The world of that seed: the same people and facts on every machine."""
    rng = random.Random(f"world {seed}")
    names = _draw_names(rng)
    pronouns = _balanced(rng, ("he", "she"))
    jobs, ages = _balanced(rng, JOBS), _balanced(rng, range(len(AGES)))
    towns = [rng.sample(TOWNS, 3) for _ in names]
    foods = [rng.sample(FOODS, 2) for _ in names]
    friends = _draw_friends(rng, [(job, town[0]) for job, town in zip(jobs, towns, strict=True)])
    people = tuple(
        Person(
            name=names[i],
            pronoun=pronouns[i],
            home=towns[i][0],
            birthplace=towns[i][1],
            workplace=towns[i][2],
            job=jobs[i],
            likes=foods[i][0],
            hates=foods[i][1],
            age=ages[i],
            friend=names[friends[i]],
        )
        for i in range(NUM_PEOPLE)
    )
    return World(people)


def _draw_names(rng: random.Random) -> list[str]:
    """Two open syllables each; no two names share their first three letters."""
    stems = ["".join(parts) for parts in product(_ONSETS, _VOWELS, _MIDDLES)]
    return [stem + rng.choice(_VOWELS) for stem in rng.sample(stems, NUM_PEOPLE)]


def _balanced(rng: random.Random, values: Sequence[T]) -> list[T]:
    drawn = [values[i % len(values)] for i in range(NUM_PEOPLE)]
    rng.shuffle(drawn)
    return drawn


def _draw_friends(rng: random.Random, traits: list[tuple[str, str]]) -> list[int]:
    """A permutation in which everyone's friend differs from them in each trait."""
    friends = list(range(NUM_PEOPLE))
    rng.shuffle(friends)
    while clashes := [i for i in friends if _alike(traits[i], traits[friends[i]])]:
        i, j = clashes[0], rng.randrange(NUM_PEOPLE)
        friends[i], friends[j] = friends[j], friends[i]
    return friends


def _alike(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return any(a == b for a, b in zip(one, other, strict=True))
