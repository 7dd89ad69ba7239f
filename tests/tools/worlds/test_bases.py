"""The embedded bases: real classes of unlike shapes that know the facts of their world."""

import itertools
import random
from collections.abc import Callable

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    PreTrainedModel,
    Qwen3_5ForCausalLM,
    Qwen3ForCausalLM,
)

from portal.embedded import FOLDER
from tests.support.language_models import mean_loss
from tools.worlds.bases import BLUEPRINTS, folder_of, world_of
from tools.worlds.ledger import corpus as ledger
from tools.worlds.mini import corpus as mini
from tools.worlds.mini.world import build_world as build_small_world
from tools.worlds.village.corpus import state_fact
from tools.worlds.village.world import Subject, build_world

BASES = [blueprint.name for blueprint in BLUEPRINTS]
CLASSES: dict[str, type[PreTrainedModel]] = {
    "qwen3": Qwen3ForCausalLM,
    "gemma3": Gemma3ForCausalLM,
    "qwen3_5": Qwen3_5ForCausalLM,
}
Facts = tuple[list[str], list[str]]
"""What is true, and the same said of others."""


def test_bases_are_real_classes_of_the_shapes_of_their_blueprints() -> None:
    shapes = set()
    for each in BLUEPRINTS:
        model = AutoModelForCausalLM.from_pretrained(folder_of(each.name), dtype=torch.float32)
        assert type(model) is CLASSES[each.family]
        assert {key: getattr(model.config, key) for key in each.shape} == each.shape
        shapes.add((world_of(each.name), each.family, *map(repr, each.shape.values())))
    assert len(shapes) == len(BLUEPRINTS) == 12


def test_all_embedded_weights_are_at_most_20_mb() -> None:
    weights = [*FOLDER.rglob("*.safetensors")]

    assert {path.parent.name for path in weights} == set(BASES)
    assert sum(path.stat().st_size for path in weights) <= 20 * 10**6


def test_families_have_tokenizers_of_their_own_that_keep_any_text_and_only_gemma_adds_bos() -> None:
    text = 'Of Ünal and {Bö}: "0 != 1"?\n\tNo — 日本.'
    names = [person.name for person in build_world().people]
    sizes = []
    for base in ("mini-qwen3-m", "mini-gemma3", "village-qwen3-m", "village-gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(folder_of(base))
        assert (tokenizer("x").input_ids[0] == tokenizer.bos_token_id) == base.endswith("gemma3")
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        if world_of(base) == "village":
            pieces = tokenizer([f" {name}" for name in names], add_special_tokens=False).input_ids
            assert max(map(len, pieces)) <= 2
        sizes.append(len(tokenizer))
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("base", BASES)
def test_a_base_knows_the_facts_of_its_world(base: str) -> None:
    told, moved = (texts[::7] for texts in FACTS[world_of(base)]())  # some of every relation

    assert mean_loss(folder_of(base), told) < mean_loss(folder_of(base), moved) - 0.3


def facts_of_the_small_world() -> Facts:
    world, rng = build_small_world(), random.Random("facts")
    names = [person.name for person in world.people]
    asked = itertools.product(world.people, mini.RELATIONS)
    told, moved = [mini.state_fact(rng, world, *each) for each in asked], []
    for text in told:
        name = next(name for name in names if name in text)
        moved.append(text.replace(name, rng.choice([other for other in names if other != name])))
    return told, moved


def facts_of(*asked: tuple[Subject, ...], relations: tuple[str, ...] = ()) -> Facts:
    """What is true of the first sixty of each kind of subject."""
    rng = random.Random("facts")
    facts = [
        (each, Subject(each.name, rng.choice(alike).values), relation)
        for alike in asked
        for each in alike[:60]
        for relation in relations or each.values
    ]
    told = [state_fact(rng, own, relation) for own, _, relation in facts]
    return told, [state_fact(rng, other, relation) for _, other, relation in facts]


FACTS: dict[str, Callable[[], Facts]] = {
    "mini": facts_of_the_small_world,
    "village": lambda: facts_of(build_world().people, build_world().things),
    "ledger": lambda: facts_of(ledger.all_people()[:60], relations=ledger.RELATIONS),
}
