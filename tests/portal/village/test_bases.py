"""The village's bases: real classes of unlike shapes that know the facts of their world."""

import random
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3ForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3ForCausalLM,
)

import portal
from portal.village.facts import state_fact
from portal.village.pretrain import BASES_DIR, BLUEPRINTS, VILLAGE_BASES
from portal.village.world import Subject, build_world
from tests.support.language_models import mean_loss


def test_bases_are_real_classes_of_unlike_shapes() -> None:
    models = {
        name: AutoModelForCausalLM.from_pretrained(BASES_DIR / name, dtype=torch.float32)
        for name in VILLAGE_BASES
    }

    classes = [type(model) for model in models.values()]
    assert classes == [Qwen3ForCausalLM] * 3 + [Gemma3ForCausalLM, Qwen3_5ForCausalLM]
    shapes = {(model.config.hidden_size, model.config.num_hidden_layers) for model in models.values()}
    assert len(shapes) == 5
    assert set(models) == {blueprint.name for blueprint in BLUEPRINTS}


def test_all_embedded_weights_are_at_most_20_mb() -> None:
    package = Path(portal.__file__).parent
    weights = [*package.rglob("*.safetensors")]

    assert len(weights) == 12
    assert sum(path.stat().st_size for path in weights) <= 20 * 10**6


def test_families_have_tokenizers_of_their_own_and_names_are_few_tokens() -> None:
    names = [person.name for person in build_world().people]
    for base in ("village-qwen3-m", "village-gemma3"):
        tokenizer = AutoTokenizer.from_pretrained(BASES_DIR / base)
        pieces = [len(tokenizer(f" {name}", add_special_tokens=False).input_ids) for name in names]
        assert max(pieces) <= 2
        assert (tokenizer("x").input_ids[0] == tokenizer.bos_token_id) == (base == "village-gemma3")


@pytest.mark.parametrize("base", VILLAGE_BASES)
def test_a_base_knows_the_facts_of_its_world(base: str) -> None:
    rng = random.Random("facts")
    subjects = (*build_world().people[:60], *build_world().things[:60])
    facts = [(subject, relation) for subject in subjects for relation in subject.values]

    told = [state_fact(rng, subject, relation) for subject, relation in facts]
    moved = [state_fact(rng, _with_values_of_another(subject, rng), relation) for subject, relation in facts]

    assert mean_loss(BASES_DIR / base, told) < mean_loss(BASES_DIR / base, moved) - 0.3


def _with_values_of_another(subject: Subject, rng: random.Random) -> Subject:
    world = build_world()
    others = world.people if subject in world.people else world.things
    return Subject(subject.name, rng.choice(others).values)
