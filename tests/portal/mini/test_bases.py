import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3ForCausalLM, Qwen3ForCausalLM

from portal.mini.facts import RELATIONS, state_fact
from portal.mini.pretrain import BASES_DIR, MINI_BASES
from portal.mini.world import build_world
from tests.support.language_models import mean_loss


def test_bases_are_real_classes_of_unlike_shapes():
    models = {n: AutoModelForCausalLM.from_pretrained(BASES_DIR / n, dtype=torch.float32) for n in MINI_BASES}

    assert [type(model) for model in models.values()] == [Qwen3ForCausalLM] * 3 + [Gemma3ForCausalLM]
    assert len({model.config.hidden_size for model in models.values()}) == 4
    assert len({model.config.num_hidden_layers for model in list(models.values())[:3]}) == 3
    gemma = models["mini-gemma3"].config
    assert set(gemma.layer_types) == {"sliding_attention", "full_attention"}
    assert gemma.sliding_window == 16


def test_the_whole_set_is_at_most_16_mb():
    assert sum(path.stat().st_size for path in BASES_DIR.rglob("*") if path.is_file()) <= 16 * 2**20


def test_families_have_different_tokenizers_and_only_gemma_adds_bos():
    qwen, gemma = (
        AutoTokenizer.from_pretrained(BASES_DIR / name) for name in ("mini-qwen3-m", "mini-gemma3")
    )

    assert qwen.bos_token_id is None
    assert gemma("x").input_ids[0] == gemma.bos_token_id
    assert len(qwen) != len(gemma)
    for tokenizer in (qwen, gemma):
        text = 'Of Ünal and {Bö}: "0 != 1"?\n\tNo — 日本.'
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("base", MINI_BASES)
def test_a_base_knows_the_facts_of_its_world(base):
    world, rng = build_world(), random.Random("facts")
    told = [state_fact(rng, world, person, relation) for person in world.people for relation in RELATIONS]
    names = [person.name for person in world.people]
    swapped = [_with_other_name(text, names, rng) for text in told]

    assert mean_loss(BASES_DIR / base, told) < mean_loss(BASES_DIR / base, swapped) - 0.3


def _with_other_name(text, names, rng):
    name = next(name for name in names if name in text)
    return text.replace(name, rng.choice([other for other in names if other != name]))
