"""The plain-text corpus of the village: short documents, drawn without end from one seed."""

import random
from collections.abc import Callable, Iterator

from portal.village.facts import portray
from portal.village.stories import (
    tell_count,
    tell_echo,
    tell_leftover,
    tell_meeting,
    tell_order,
    tell_talk,
)
from portal.village.world import World, build_world

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
