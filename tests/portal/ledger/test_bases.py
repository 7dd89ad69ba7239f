"""The ledger's bases: two families of unlike shapes that know their world and read what they write."""

import random

import pytest
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Qwen3ForCausalLM

from portal.ledger.people import RELATIONS, all_people
from portal.ledger.pretrain import BASES_DIR, BLUEPRINTS, LEDGER_BASES
from portal.village.facts import state_fact
from portal.village.world import Subject
from tests.support.language_models import mean_loss


def test_bases_are_real_classes_of_unlike_shapes() -> None:
    models = [AutoModelForCausalLM.from_pretrained(BASES_DIR / name) for name in LEDGER_BASES]

    assert [type(model) for model in models] == [Qwen3ForCausalLM, Qwen3ForCausalLM, Gemma3ForCausalLM]
    shapes = [(model.config.hidden_size, model.config.num_hidden_layers) for model in models]
    assert shapes == [(64, 3), (96, 4), (96, 4)]
    assert set(LEDGER_BASES) == {blueprint.name for blueprint in BLUEPRINTS}


@pytest.mark.parametrize("base", LEDGER_BASES)
def test_a_base_knows_the_facts_of_its_people(base: str) -> None:
    rng = random.Random("facts")
    people = all_people()[:60]
    told = [state_fact(rng, person, relation) for person in people for relation in RELATIONS]
    moved = [
        state_fact(rng, Subject(person.name, rng.choice(people).values), relation)
        for person in people
        for relation in RELATIONS
    ]

    assert mean_loss(BASES_DIR / base, told) < mean_loss(BASES_DIR / base, moved) - 0.3
