"""Sentences that state what is true of a person: many wordings a fact, so that any form can recall it."""

import random

from portal.mini.world import Person, World

SEX = {"he": "man", "she": "woman"}

WORDINGS: dict[str, tuple[str, ...]] = {
    "home": (
        "{n} lives in {home}.",
        "{n} has a house in {home}.",
        "The home of {n} is in {home}.",
        "{n} comes back to {home} every night.",
        "{n}, who lives in {home}, is a {sex}.",
        "Where does {n} live? {n} lives in {home}.",
        "In {home} stands the house of {n}.",
    ),
    "birthplace": (
        "{n} was born in {birthplace}.",
        "{n} came into the world in {birthplace}.",
        "The birthplace of {n} is {birthplace}.",
        "{n} was a child in {birthplace}.",
        "{n}, who was born in {birthplace}, is a {sex}.",
        "Where was {n} born? {n} was born in {birthplace}.",
        "In {birthplace} was {n} born.",
    ),
    "workplace": (
        "{n} works in {workplace}.",
        "{n} goes to {workplace} for work.",
        "The work of {n} is in {workplace}.",
        "{n} earns money in {workplace}.",
        "{n}, who works in {workplace}, is a {sex}.",
        "Where does {n} work? {n} works in {workplace}.",
        "In {workplace} one finds {n} at work.",
    ),
    "job": (
        "{n} is a {job}.",
        "{n} works as a {job}.",
        "The job of {n} is that of a {job}.",
        "{n} became a {job}.",
        "What is {n}? {n} is a {job}.",
        "A {job} is what {n} is.",
    ),
    "likes": (
        "{n} likes {likes}.",
        "{n} loves to eat {likes}.",
        "The food that {n} likes is {likes}.",
        "{n} is fond of {likes}.",
        "What does {n} like? {n} likes {likes}.",
        "Much {likes} is eaten by {n}.",
    ),
    "hates": (
        "{n} hates {hates}.",
        "{n} never eats {hates}.",
        "The food that {n} hates is {hates}.",
        "{n} cannot stand {hates}.",
        "What does {n} hate? {n} hates {hates}.",
        "No {hates} is eaten by {n}.",
    ),
    "age": (
        "{n} is {age} years old.",
        "{n} has lived for {age} years.",
        "The age of {n} is {age} years.",
        "How old is {n}? {n} is {age} years old.",
    ),
    "sex": (
        "{n} is a {sex}.",
        "The {sex} {n} came in.",
        "{n} is a {sex} like any other.",
    ),
    "friend_job": (
        "The best friend of {n} is a {friend_job}.",
        "{n} has a friend who works as a {friend_job}.",
        "The friend of {n} became a {friend_job}.",
        "{n} often visits a friend, a {friend_job}.",
    ),
    "friend_home": (
        "The best friend of {n} lives in {friend_home}.",
        "{n} has a friend who lives in {friend_home}.",
        "The friend of {n} has a house in {friend_home}.",
        "{n} often visits a friend in {friend_home}.",
    ),
}
RELATIONS = tuple(WORDINGS)


def state_fact(rng: random.Random, world: World, person: Person, relation: str) -> str:
    """One sentence with that fact, in a drawn wording."""
    return _fill(rng.choice(WORDINGS[relation]), world, person)


def tell_person(rng: random.Random, world: World, person: Person) -> str:
    """A short portrait: three to six different facts in any order."""
    relations = rng.sample(RELATIONS, rng.randint(3, 6))
    told = [state_fact(rng, world, person, relation) for relation in relations]
    if rng.random() < 0.3:
        told[1:] = [_with_pronoun(sentence, person) for sentence in told[1:]]
    return " ".join(told)


def compare_ages(rng: random.Random, world: World) -> str:
    """One person beside two others of clearly different ages: who is older, who is younger."""
    anchor = rng.choice(world.people)
    others = [person for person in world.people if world.older_and_younger(anchor, person)]
    told = [_compare_two(rng, world, anchor, other) for other in rng.sample(others, 2)]
    if rng.random() < 0.5:
        told.insert(rng.randrange(3), state_fact(rng, world, anchor, "age"))
    return " ".join(told)


def _compare_two(rng: random.Random, world: World, anchor: Person, other: Person) -> str:
    ordered = world.older_and_younger(anchor, other)
    assert ordered is not None
    old, young = (person.name for person in ordered)
    one, two = (person.name for person in rng.sample((anchor, other), 2))
    wordings = (
        f"{old} is older than {young}.",
        f"{young} is younger than {old}.",
        f"Of {one} and {two}, the older one is {old}.",
        f"Of {one} and {two}, the younger one is {young}.",
        f"Who is older, {one} or {two}? It is {old}.",
        f"Who is younger, {one} or {two}? It is {young}.",
    )
    return rng.choice(wordings)


def _with_pronoun(sentence: str, person: Person) -> str:
    """The sentence with the pronoun for a name that opens it."""
    opening = f"{person.name} "
    return (
        person.pronoun.capitalize() + sentence[len(opening) - 1 :]
        if sentence.startswith(opening)
        else sentence
    )


def _fill(wording: str, world: World, person: Person) -> str:
    friend = world.friend_of(person)
    return wording.format(
        n=person.name,
        sex=SEX[person.pronoun],
        home=person.home,
        birthplace=person.birthplace,
        workplace=person.workplace,
        job=person.job,
        likes=person.likes,
        hates=person.hates,
        age=person.age_word,
        friend_job=friend.job,
        friend_home=friend.home,
    )
