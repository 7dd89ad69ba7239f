"""Tasks about what everyone in the world knows: kinds of things, causes and effects."""

import random

from portal.mini.lexicon import KINDS
from portal.mini.question import Question, chains_of, names_of


def draw_odd_one_out(rng: random.Random, split: str, index: int) -> Question:
    """Three members of one kind and one of another: the other one."""
    kind, other_kind = rng.sample(list(KINDS), 2)
    odd = rng.choice(KINDS[other_kind])
    mixed = [*rng.sample(KINDS[kind], 3), odd]
    rng.shuffle(mixed)
    return Question(f"[{', '.join(mixed)}] odd =", tuple(mixed), odd, "-".join(sorted(mixed)))


def draw_membership(rng: random.Random, split: str, index: int) -> Question:
    """Which of three things is of the named kind."""
    kinds = rng.sample(list(KINDS), 3)
    things = [rng.choice(KINDS[kind]) for kind in kinds]
    mixed = rng.sample(things, 3)
    return Question(f"{', '.join(mixed)} -> {kinds[0]} =>", tuple(mixed), things[0], "-".join(sorted(things)))


def draw_cause_effect(rng: random.Random, split: str, index: int) -> Question:
    """The middle of a causal chain with because (its cause) or therefore (its effect); both are choices."""
    chain = rng.choice(chains_of(split))
    name = rng.choice(names_of(split))
    cause, middle, effect = (event.format(p=name) for event in chain)
    word, answer = rng.choice((("because", cause), ("therefore", effect)))
    return Question(f"{middle}, {word}", (cause, effect), answer, chain[1].removeprefix("{p} "))
