"""`World`: the people and things of the village and all that is true of them, a pure function of its seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

from tools.worlds.village.lexicon import (
    AGES,
    CARRIED,
    CLASSES,
    COLOURS,
    DEEDS,
    FOODS,
    INSTRUMENTS,
    JOBS,
    MATERIALS,
    PETS,
    ROOMS,
    TOWNS,
)

NUM_SUBJECTS = 514
"""People, and as many things: 448 of each to learn from, 16 to validate on, 50 to test on."""
WORLD_SEED = 31
PERSON_VALUES: dict[str, tuple[str, ...]] = {
    "sex": ("man", "woman"),
    "home": TOWNS,
    "birthplace": TOWNS,
    "workplace": TOWNS,
    "job": JOBS,
    "friend_job": JOBS,
    "likes": FOODS,
    "hates": FOODS,
    "plays": INSTRUMENTS,
    "pet": PETS,
    "age": AGES,
}
THING_VALUES: dict[str, tuple[str, ...]] = {
    "colour": COLOURS,
    "material": MATERIALS,
    "room": ROOMS,
    "class": CLASSES,
    "origin": TOWNS,
    "user": JOBS,
}
"""What the world knows of every person and of every thing, and the words that it may be."""
_INVENTORIES = {**PERSON_VALUES, **THING_VALUES}
_VOWELS, _CONSONANTS, _CODAS = "aeiou", "bdfgklmnprstvz", "bdgklmnprtx"


@dataclass(frozen=True)
class Subject:
    """A person or a thing. Values of one inventory differ: nobody lives where they were born."""

    name: str  # "Bada", or "tivok" for a thing
    values: dict[str, str]  # by relation

    def rivals(self, relation: str) -> tuple[str, ...]:
        """What is true of the subject under other relations and could be mistaken for `relation`'s value."""
        inventory = inventory_of(relation)
        return tuple(v for r, v in self.values.items() if r != relation and inventory_of(r) is inventory)


@dataclass(frozen=True)
class World:
    """All people and things, in a fixed order that carries no meaning."""

    people: tuple[Subject, ...]
    things: tuple[Subject, ...]


def inventory_of(relation: str) -> tuple[str, ...]:
    """All words that the relation's values are drawn from; KeyError for an unknown relation."""
    return _INVENTORIES[relation]


@cache
def build_world(seed: int = WORLD_SEED) -> World:
    """The world of that seed: the same subjects and facts on every machine."""
    rng = random.Random(f"village {seed}")
    stems = ["".join(parts) for parts in product(_CONSONANTS, _VOWELS, _CONSONANTS)]
    people = [stem.capitalize() + rng.choice(_VOWELS) for stem in rng.sample(stems, NUM_SUBJECTS)]
    taken = {word for inventory in (*PERSON_VALUES.values(), *THING_VALUES.values()) for word in inventory}
    taken |= {*CARRIED, *DEEDS}
    things = [_thing_name(rng, stem, taken) for stem in rng.sample(stems, NUM_SUBJECTS)]
    return World(
        people=tuple(Subject(name, _draw_values(rng, PERSON_VALUES)) for name in people),
        things=tuple(Subject(name, _draw_values(rng, THING_VALUES)) for name in things),
    )


def _thing_name(rng: random.Random, stem: str, taken: set[str]) -> str:
    name = stem + rng.choice(_VOWELS) + rng.choice(_CODAS)
    return name if name not in taken else _thing_name(rng, stem, taken)


def _draw_values(rng: random.Random, relations: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """One value per relation; relations that share an inventory get different ones."""
    drawn: dict[str, str] = {}
    for relation, inventory in relations.items():
        others = {value for known, value in drawn.items() if relations[known] is inventory}
        drawn[relation] = rng.choice([word for word in inventory if word not in others])
    return drawn
