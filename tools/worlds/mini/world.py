"""`World`: the closed vocabulary of the small world, its people and all that is true of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeVar


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOWNS = words("Dorvale Kestmoor Lunford Mirwick Nashport Oakham Pellin Quarby Rostel Sundale Tarmouth Velden")
JOBS = words("baker farmer smith teacher sailor doctor tailor miner painter cook hunter singer")
FOODS = words("bread soup rice cheese honey cake beans eggs nuts corn milk salt")
AGES = words("twenty thirty forty fifty sixty")
COLOURS = words("red blue green black white brown pink grey")
PLACES = words("kitchen garden mill barn shop cellar tower yard")
NUMBERS = ("one", "two", "three", "four", "five")

KINDS = {
    "bird": words("crow hen duck owl swan goose robin dove"),
    "fish": words("trout carp eel pike cod perch shark tuna"),
    "beast": words("cow dog cat goat horse fox bear wolf"),
    "tool": words("hammer saw axe spade rake drill chisel file"),
    "fruit": words("plum pear apple fig cherry grape lemon peach"),
    "garment": words("hat coat shirt scarf glove boot belt cloak"),
    "dish": words("cup bowl plate jug pan spoon fork pot"),
    "instrument": words("drum flute harp bell horn fiddle pipe lute"),
}
PORTABLE = KINDS["tool"] + KINDS["fruit"] + KINDS["garment"] + KINDS["dish"] + KINDS["instrument"]
"""Things that a person can hold, take and give."""

DEEDS = words("swam sang slept danced laughed cried jumped prayed read wrote cooked fished drew rested")

CHAINS = (
    ("{p} ran too fast", "{p} fell down", "{p} hurt a knee"),
    ("{p} ate nothing all day", "{p} grew hungry", "{p} made a big soup"),
    ("{p} lost the lamp", "{p} stood in the dark", "{p} walked into a door"),
    ("{p} stayed up all night", "{p} felt tired", "{p} slept at work"),
    ("{p} walked in the rain", "{p} got wet", "{p} put on dry clothes"),
    ("{p} ate bad fish", "{p} became sick", "{p} called a doctor"),
    ("{p} won the race", "{p} got a prize", "{p} gave a speech"),
    ("{p} told a lie", "{p} felt shame", "{p} said sorry"),
    ("{p} dropped the jug", "{p} spilled the milk", "{p} cleaned the floor"),
    ("{p} forgot the key", "{p} was locked out", "{p} climbed through a window"),
    ("{p} worked very hard", "{p} earned much money", "{p} bought a house"),
    ("{p} heard a joke", "{p} laughed loudly", "{p} woke the baby"),
    ("{p} saw a wolf", "{p} was afraid", "{p} ran home"),
    ("{p} left the fire alone", "{p} burned the cake", "{p} baked another one"),
    ("{p} broke the plough", "{p} missed the planting", "{p} had no harvest"),
    ("{p} took a wrong turn", "{p} was lost", "{p} asked for the way"),
    ("{p} drank no water", "{p} became thirsty", "{p} went to the well"),
    ("{p} trained every day", "{p} grew strong", "{p} lifted the stone"),
    ("{p} forgot the coat", "{p} felt cold", "{p} lit a fire"),
    ("{p} found a coin", "{p} had good luck", "{p} told everyone"),
    ("{p} teased the dog", "{p} was bitten", "{p} needed a bandage"),
    ("{p} opened the cage", "{p} freed the bird", "{p} heard no more songs"),
    ("{p} studied the book", "{p} passed the test", "{p} became a teacher"),
    ("{p} missed the boat", "{p} arrived late", "{p} lost the job"),
    ("{p} planted seeds", "{p} grew flowers", "{p} sold roses"),
    ("{p} stole a horse", "{p} was caught", "{p} went to jail"),
    ("{p} sat in the sun", "{p} turned red", "{p} looked for shade"),
    ("{p} helped a stranger", "{p} made a friend", "{p} was invited to dinner"),
    ("{p} pulled the rope", "{p} rang the bell", "{p} called the town together"),
    ("{p} sang all evening", "{p} lost the voice", "{p} drank warm honey"),
    ("{p} cut the wood", "{p} got a splinter", "{p} wore gloves after that"),
    ("{p} moved away", "{p} felt alone", "{p} wrote many letters"),
    ("{p} shook the tree", "{p} gathered apples", "{p} cooked sweet jam"),
    ("{p} broke a promise", "{p} made people angry", "{p} hid in the cellar"),
    ("{p} dug a hole", "{p} found old gold", "{p} became rich"),
    ("{p} left the gate open", "{p} lost the sheep", "{p} searched the hills"),
    ("{p} spent everything", "{p} was poor", "{p} begged for bread"),
    ("{p} mixed the paint", "{p} finished the picture", "{p} hung it on the wall"),
    ("{p} threw a stone", "{p} broke the glass", "{p} paid for a new one"),
    ("{p} slept too long", "{p} missed breakfast", "{p} ate twice at noon"),
)
"""Cause, middle, effect: each event brings about the next. `{p}` is any person."""


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
