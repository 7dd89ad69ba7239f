"""The plain-text corpus of the village: facts in several wordings and short texts, drawn from one seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tools.worlds.mini.corpus import join_words
from tools.worlds.village.lexicon import CARRIED, DEEDS, NUMBERS, ROOMS
from tools.worlds.village.world import Subject, World, build_world

WORDINGS: dict[str, tuple[str, ...]] = {
    "sex": ("{n} is a {v}.", "{n} is a {v} like any other.", "{n} is the name of a {v}."),
    "home": (
        "{n} lives in {v}.",
        "{n} has a house in {v}.",
        "The home of {n} is in {v}.",
        "{n} comes back to {v} every night.",
        "Where does {n} live? In {v}.",
        "In {v} stands the house of {n}.",
    ),
    "birthplace": (
        "{n} was born in {v}.",
        "{n} came into the world in {v}.",
        "The birthplace of {n} is {v}.",
        "{n} was a child in {v}.",
        "Where was {n} born? In {v}.",
        "In {v} was {n} born.",
    ),
    "workplace": (
        "{n} works in {v}.",
        "{n} goes to {v} for work.",
        "The work of {n} is in {v}.",
        "{n} earns money in {v}.",
        "Where does {n} work? In {v}.",
        "In {v} one finds {n} at work.",
    ),
    "job": (
        "{n} is a {v}.",
        "{n} works as a {v}.",
        "The job of {n} is that of a {v}.",
        "{n} became a {v}.",
        "What is {n}? A {v}.",
        "A {v} is what {n} is.",
    ),
    "friend_job": (
        "The best friend of {n} is a {v}.",
        "{n} has a friend who works as a {v}.",
        "The friend of {n} became a {v}.",
        "{n} often visits a friend, a {v}.",
        "What is the friend of {n}? A {v}.",
    ),
    "likes": (
        "{n} likes {v}.",
        "{n} loves to eat {v}.",
        "The food that {n} likes is {v}.",
        "{n} is fond of {v}.",
        "What does {n} like? It is {v}.",
        "Much {v} is eaten by {n}.",
    ),
    "hates": (
        "{n} hates {v}.",
        "{n} never eats {v}.",
        "The food that {n} hates is {v}.",
        "{n} cannot stand {v}.",
        "What does {n} hate? It is {v}.",
        "No {v} is eaten by {n}.",
    ),
    "plays": (
        "{n} plays the {v}.",
        "{n} learned the {v} as a child.",
        "The music of {n} is that of a {v}.",
        "{n} owns an old {v}.",
        "What does {n} play? The {v}.",
        "The {v} is played by {n}.",
    ),
    "pet": (
        "{n} keeps a {v}.",
        "{n} walks with a {v}.",
        "The pet of {n} is a {v}.",
        "{n} feeds the {v}.",
        "Which animal does {n} keep? The {v}.",
        "A {v} follows {n} home.",
    ),
    "age": (
        "{n} is {v} years old.",
        "{n} has lived for {v} years.",
        "The age of {n} is {v} years.",
        "How old is {n}? {n} is {v} years old.",
    ),
    "colour": (
        "The {n} is {v}.",
        "The {n} was painted {v}.",
        "The colour of the {n} is {v}.",
        "The {n} shines {v} in the light.",
        "Which colour has the {n}? It is {v}.",
        "Painted in {v} is the {n}.",
    ),
    "material": (
        "The {n} is made of {v}.",
        "The {n} was formed from {v}.",
        "The material of the {n} is {v}.",
        "The {n} consists of {v}.",
        "What is the {n} made of? It is {v}.",
        "Someone made the {n} out of {v}.",
    ),
    "room": (
        "The {n} is kept in the {v}.",
        "The {n} stands in the {v}.",
        "The place of the {n} is the {v}.",
        "The {n} was left in the {v}.",
        "Where is the {n}? In the {v}.",
        "In the {v} one finds the {n}.",
    ),
    "class": (
        "The {n} is a kind of {v}.",
        "The {n} serves as a {v}.",
        "Every {n} is a {v}.",
        "The {n} is sold as a {v}.",
        "What is a {n}? It is a {v}.",
        "A {v} is what the {n} is.",
    ),
    "origin": (
        "The {n} comes from {v}.",
        "The {n} was built in {v}.",
        "The maker of the {n} is from {v}.",
        "The {n} was brought here from {v}.",
        "Where is the {n} from? From {v}.",
        "From {v} came the {n}.",
    ),
    "user": (
        "The {n} is used by a {v}.",
        "The {n} belongs to a {v}.",
        "The owner of the {n} is a {v}.",
        "The {n} is carried by a {v}.",
        "Who needs the {n}? A {v}.",
        "A {v} uses the {n}.",
    ),
}
_FACTS_OF_A_PORTRAIT = (4, 7)


def state_fact(rng: random.Random, subject: Subject, relation: str) -> str:
    """One sentence with that fact, in a drawn wording."""
    return rng.choice(WORDINGS[relation]).format(n=subject.name, v=subject.values[relation])


def portray(rng: random.Random, subject: Subject) -> str:
    """A short portrait: four to seven different facts, fewer where the subject has fewer, in any order."""
    num_facts = min(len(subject.values), rng.randint(*_FACTS_OF_A_PORTRAIT))
    relations = rng.sample(tuple(subject.values), num_facts)
    return " ".join(state_fact(rng, subject, relation) for relation in relations)


_PRONOUNS = {"man": "he", "woman": "she"}


@dataclass(frozen=True)
class Story:
    """A text up to the point where it can be continued, what the right word is, and the wrong ones."""

    text: str
    answer: str
    others: tuple[str, ...]


def leave_one(rng: random.Random, subject: Subject, num_things: int) -> Story:
    """Someone sees that many things and takes all but one; the answer is the one."""
    things = rng.sample(CARRIED, num_things)
    left, *taken = rng.sample(things, num_things)
    text = f"{subject.name} saw {join_words(things)} and took {join_words(taken)}."
    return Story(text, left, tuple(taken))


def order_two(rng: random.Random, subject: Subject) -> Story:
    """Two deeds told with before or after; the answer is the one that came first."""
    early, late = rng.sample(DEEDS, 2)
    told = rng.choice(("{n} {e} before {n} {l}.", "{n} {l} after {n} {e}."))
    return Story(told.format(n=subject.name, e=early, l=late), early, (late,))


def meet(rng: random.Random, subject: Subject, others: Sequence[Subject]) -> Story:
    """A man and a woman meet and one of them does something; the answer is who."""
    other = rng.choice([person for person in others if person.values["sex"] != subject.values["sex"]])
    one, two = rng.sample((subject, other), 2)
    actor = rng.choice((one, two))
    he = _PRONOUNS[actor.values["sex"]].capitalize()
    text = f"{one.name} met {two.name} in the {rng.choice(ROOMS)}. {he} {rng.choice(DEEDS)}."
    return Story(text, actor.name, tuple(person.name for person in (one, two) if person is not actor))


def tell_leftover(rng: random.Random, world: World) -> str:
    story = leave_one(rng, rng.choice(world.people), rng.randint(3, 5))
    endings = ("Only the {a} was left.", "The {a} stayed there.", "Nobody wanted the {a}.")
    return f"{story.text} {rng.choice(endings).format(a=story.answer)}"


def tell_order(rng: random.Random, world: World) -> str:
    person = rng.choice(world.people)
    story = order_two(rng, person)
    endings = ("At first {n} {a}.", "So {n} {a} first.", "In the end {n} {o}.")
    return f"{story.text} {rng.choice(endings).format(n=person.name, a=story.answer, o=story.others[0])}"


def tell_meeting(rng: random.Random, world: World) -> str:
    story = meet(rng, rng.choice(world.people), world.people)
    endings = ("It was {a} who did it.", "That was {a}.", "So did {a}, not {o}.")
    return f"{story.text} {rng.choice(endings).format(a=story.answer, o=story.others[0])}"


def tell_echo(rng: random.Random, world: World) -> str:
    """A list of words that is said twice: what teaches a small model to read back."""
    listed = rng.sample(CARRIED + ROOMS + DEEDS, rng.randint(3, 6))
    one, other = (person.name for person in rng.sample(world.people, 2))
    told = " ".join([one, *listed, rng.choice(world.things).name, other])
    return f"{told}. Again, {told}."


def tell_count(rng: random.Random, world: World) -> str:
    """A list of things and how many they are."""
    count = rng.randint(2, 5)
    things = join_words(rng.sample(CARRIED, count))
    return f"{rng.choice(world.people).name} has {things}. That makes {NUMBERS[count - 1]} things."


def tell_talk(rng: random.Random, world: World) -> str:
    """Everyday talk that joins names of people and things to words of agreement."""
    one, other = (person.name for person in rng.sample(world.people, 2))
    thing = rng.choice(world.things).name
    return rng.choice(
        (
            f'"Yes," said {one}, "I will come." "No," said {other}, "not today."',
            f"{one} gave the {thing} to {other}, and {other} thanked {one}.",
            f"{one} asked {other} for the {thing}. It is the one that {other} gave away.",
            f"{thing} is a hard word, said {one}. It is, said {other}, and {thing} it is.",
        )
    )


CORPUS_SEED = 8


def _portray_person(rng: random.Random, world: World) -> str:
    return portray(rng, rng.choice(world.people))


def _portray_thing(rng: random.Random, world: World) -> str:
    return portray(rng, rng.choice(world.things))


MIX: tuple[tuple[Callable[[random.Random, World], str], float], ...] = (
    (_portray_person, 50.0),
    (_portray_thing, 26.0),
    (tell_meeting, 9.0),
    (tell_leftover, 4.0),
    (tell_order, 4.0),
    (tell_echo, 4.0),
    (tell_count, 1.0),
    (tell_talk, 2.0),
)
"""What documents tell, and how often relative to each other."""


def draw_documents(seed: int = CORPUS_SEED) -> Iterator[str]:
    """Documents without end, the same ones for the same seed. None has the form of a task."""
    world, rng = build_world(), random.Random(f"village corpus {seed}")
    tellers, weights = zip(*MIX, strict=True)
    while True:
        yield rng.choices(tellers, weights)[0](rng, world)
