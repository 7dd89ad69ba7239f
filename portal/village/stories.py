"""Short texts whose ending can be read off their beginning: what is left, what came first, who was meant."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from portal.mini.stories import join_words
from portal.village.lexicon import CARRIED, DEEDS, NUMBERS, ROOMS
from portal.village.world import Subject, World

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
