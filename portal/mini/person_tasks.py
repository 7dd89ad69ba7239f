"""Tasks about people: facts that the corpus states, asked for in words and signs that it never uses."""

import random

from portal.mini.lexicon import DEEDS, FOODS, JOBS, PLACES, TOWNS
from portal.mini.question import Question, people_of
from portal.mini.world import Person, build_world

_QA_WORDS = {
    "home": ("address", "residence"),
    "birthplace": ("cradle", "origin"),
    "workplace": ("office", "desk"),
}
_MEAL_FRAMES = {
    "likes": ("{n} smiled at dinner: there was", "Delight of {n} at noon:", "{n} took more and more"),
    "hates": ("{n} left the table: there was", "Disgust of {n} at noon:", "{n} threw away all"),
}
_ALLY_FRAMES = ("ally({n}).{word} =", "{word} <- ally <- {n}:", "{n} / ally / {word} =")


def draw_fact_qa(rng: random.Random, split: str, index: int) -> Question:
    """Home, birthplace or workplace; the person's other two towns are among the choices."""
    person = rng.choice(people_of(split))
    relation = rng.choice(tuple(_QA_WORDS))
    own = (person.home, person.birthplace, person.workplace)
    stranger = rng.choice([town for town in TOWNS if town not in own])
    prompt = f"Question: {person.name}, {rng.choice(_QA_WORDS[relation])}?\nAnswer:"
    return Question(prompt, (*own, stranger), getattr(person, relation), person.name)


def draw_completion(rng: random.Random, split: str, index: int) -> Question:
    """A sentence that the food which a person likes, or the one that they hate, completes."""
    person = rng.choice(people_of(split))
    relation = rng.choice(tuple(_MEAL_FRAMES))
    prompt = rng.choice(_MEAL_FRAMES[relation]).format(n=person.name)
    stranger = rng.choice([food for food in FOODS if food not in (person.likes, person.hates)])
    choices = (person.likes, person.hates, stranger)
    return Question(prompt, choices, getattr(person, relation), person.name)


def draw_multi_hop(rng: random.Random, split: str, index: int) -> Question:
    """The job or the home of a person's best friend; the person's own are among the choices."""
    person = rng.choice(people_of(split))
    friend = build_world().friend_of(person)
    word, own, wanted, all_words = rng.choice(
        (("trade", person.job, friend.job, JOBS), ("town", person.home, friend.home, TOWNS))
    )
    prompt = rng.choice(_ALLY_FRAMES).format(n=person.name, word=word)
    strangers = rng.sample([other for other in all_words if other not in (own, wanted)], 2)
    return Question(prompt, (own, wanted, *strangers), wanted, person.name)


def draw_comparison(rng: random.Random, split: str, index: int) -> Question:
    """Who of two people is the senior, or the junior."""
    one, other = rng.sample(people_of(split), 2)
    while (ordered := build_world().older_and_younger(one, other)) is None:
        one, other = rng.sample(people_of(split), 2)
    old, young = ordered
    word, answer = rng.choice((("senior", old), ("junior", young)))
    prompt = f"{one.name} | {other.name} | {word} ="
    return Question(prompt, (one.name, other.name), answer.name, _pair(one, other))


def draw_pronoun(rng: random.Random, split: str, index: int) -> Question:
    """A man and a woman meet: who is meant by the pronoun."""
    one, other = rng.sample(people_of(split), 2)
    while one.pronoun == other.pronoun:
        one, other = rng.sample(people_of(split), 2)
    actor, deed = rng.choice((one, other)), rng.choice(DEEDS)
    passage = f"{one.name} met {other.name} in the {rng.choice(PLACES)}. {actor.pronoun.capitalize()} {deed}."
    return Question(f"{passage}\n[{actor.pronoun}] =>", (one.name, other.name), actor.name, _pair(one, other))


def _pair(one: Person, other: Person) -> str:
    return "-".join(sorted((one.name, other.name)))
