"""The plain-text corpus: documents of a few sentences, drawn without end from one seed."""

import random
from collections.abc import Callable, Iterator

from portal.mini.facts import compare_ages, tell_person
from portal.mini.scenes import judge_scene
from portal.mini.stories import (
    tell_chain,
    tell_count,
    tell_echo,
    tell_kinds,
    tell_leftover,
    tell_move,
    tell_order,
    tell_pronoun,
    tell_talk,
)
from portal.mini.world import World, build_world

CORPUS_SEED = 5


def _portrait(rng: random.Random, world: World) -> str:
    return tell_person(rng, world, rng.choice(world.people))


MIX: tuple[tuple[Callable[[random.Random, World], str], float], ...] = (
    (_portrait, 34.0),
    (compare_ages, 9.0),
    (judge_scene, 14.0),
    (tell_chain, 8.0),
    (tell_pronoun, 4.0),
    (tell_order, 4.0),
    (tell_leftover, 8.0),
    (tell_count, 2.0),
    (tell_move, 2.0),
    (tell_kinds, 20.0),
    (tell_echo, 4.0),
    (tell_talk, 2.0),
)
"""What documents tell, and how often relative to each other."""


def draw_documents(seed: int = CORPUS_SEED) -> Iterator[str]:
    """Documents without end, the same ones for the same seed. None has the form of a task."""
    world, rng = build_world(), random.Random(f"corpus {seed}")
    tellers, weights = zip(*MIX, strict=True)
    while True:
        yield rng.choices(tellers, weights)[0](rng, world)
