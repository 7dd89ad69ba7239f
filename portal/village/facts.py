"""Sentences that state what is true of a person or a thing, each fact in several wordings."""

import random

from portal.village.world import Subject

WORDINGS: dict[str, tuple[str, ...]] = {
    "sex": (
        "{n} is a {v}.",
        "{n} is a {v} like any other.",
        "{n} is the name of a {v}.",
    ),
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
