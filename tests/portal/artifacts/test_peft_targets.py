"""peft finds what is adapted, and leaves namesakes alone."""

import re

from portal.artifacts.peft_targets import exclusion, namesakes, target_of
from portal.bases.sites import group_sites
from portal.modules import ALL_MODULES
from tests.support.bases import make_base
from tests.support.zoo import tiny_base


def test_a_target_is_the_last_name_where_llama_has_it_else_the_path() -> None:
    assert target_of("self_attn.q_proj") == "q_proj"
    assert target_of("mlp.shared_expert.gate_proj") == "mlp.shared_expert.gate_proj"
    assert target_of("mixer.q_proj") == "mixer.q_proj"


def test_a_plain_base_has_no_namesakes() -> None:
    base = make_base("tiny", "llama")

    assert namesakes(base, group_sites(base.sites, ALL_MODULES)) == ()
    assert exclusion((), in_multimodal=False) is None


def test_a_gate_of_attention_is_not_taken_for_that_of_the_feed_forward() -> None:
    base = tiny_base("dory")
    found = namesakes(base, group_sites(base.sites, ALL_MODULES))

    assert found == ("self_attn.gate_proj",)
    pattern = exclusion(found, in_multimodal=False)
    assert pattern is not None
    assert re.fullmatch(pattern, "base_model.model.model.layers.1.self_attn.gate_proj")
    assert not re.fullmatch(pattern, "base_model.model.model.layers.1.mlp.gate_proj")


def test_towers_of_a_multimodal_model_are_left_alone_beside_namesakes() -> None:
    pattern = exclusion(("self_attn.gate_proj",), in_multimodal=True)

    assert pattern is not None
    assert re.fullmatch(pattern, "model.vision_tower.layers.0.self_attn.q_proj")
    assert re.fullmatch(pattern, "model.layers.0.self_attn.gate_proj")
