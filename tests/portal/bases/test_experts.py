"""What a token meets of a mixture: by the config's count of experts per token, against counted parameters."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GptOssConfig, Llama4TextConfig, Qwen3MoeConfig

from portal.bases.base_config import outline_config
from portal.bases.experts import idle_params
from portal.bases.sites import find_layer_path
from tests.support.zoo import tiny_base, tiny_config


def active_billions(config: object) -> float:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = model.get_submodule(find_layer_path(model))
    return (sum(each.numel() for each in layers.parameters()) - idle_params(layers, model.config)) / 1e9


def test_known_mixtures_have_as_many_active_parameters_as_they_are_known_for() -> None:
    qwen = Qwen3MoeConfig(
        hidden_size=4096,
        num_hidden_layers=94,
        num_attention_heads=64,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=1536,
    )

    # Their names and cards count embedding and head, too, gpt-oss-120b's 5.1 billion the head alone.
    assert active_billions(qwen) == pytest.approx(22 - 1.24, rel=0.02)
    assert active_billions(GptOssConfig()) == pytest.approx(5.1 - 0.58, rel=0.03)
    assert active_billions(Llama4TextConfig()) == pytest.approx(17 - 2.07, rel=0.02)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_a_base_counts_the_experts_that_a_token_meets(family: str) -> None:
    base = tiny_base(family)
    experts = [each for each in base.model.modules() if type(each).__name__.endswith("Experts")]
    first = next(iter(experts[0].parameters(recurse=False)))
    met = tiny_config(family).num_experts_per_tok

    idle = sum(weight[met:].numel() for each in experts for weight in each.parameters(recurse=False))

    assert 0 < met < len(first)
    assert base.num_decoder_params - base.num_active_params == idle > 0


def test_a_dense_base_has_no_idle_parameters() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(outline_config("qwen3-8b"))

    assert idle_params(model, model.config) == 0
