"""Which bases take all choices of a question in one row."""

import copy

import pytest

from portal.bases.layer_kinds import (
    attention_implementation,
    check_causal,
    layer_kinds,
    takes_branches,
    window_of,
)
from tests.support.bases import make_base
from tests.support.zoo import tiny_config


@pytest.mark.parametrize("family", ["qwen3", "llama", "gemma3"])
def test_layers_that_attend_by_masks_and_positions_take_branches(family: str) -> None:
    base = make_base("tiny", family)

    assert takes_branches(base.text_config)
    assert attention_implementation(base.model.config) == "sdpa"


def test_a_layer_of_another_kind_or_another_attention_ends_it() -> None:
    config = make_base("tiny", "gemma3").text_config
    chunked, eager = copy.deepcopy(config), copy.deepcopy(config)
    chunked.layer_types = ["chunked_attention", "full_attention", "full_attention"]
    eager._attn_implementation = "eager"

    assert not takes_branches(chunked)
    assert not takes_branches(eager)


@pytest.mark.parametrize(
    ("family", "attention"), [("gpt_oss", "eager"), ("gemma2", "eager"), ("falcon_h1", "sdpa")]
)
def test_families_without_sdpa_are_loaded_with_eager_attention(family: str, attention: str) -> None:
    config = tiny_config(family)

    assert attention_implementation(config) == attention
    assert not takes_branches(config.get_text_config())


def test_keys_that_a_family_does_not_read_change_nothing() -> None:
    config = make_base("tiny", "llama").text_config
    config.sliding_window, config.layer_types = 4, ["chunked_attention"]

    assert takes_branches(config)
    assert window_of(config) is None
    assert layer_kinds(config) is None


@pytest.mark.parametrize("family", ["gemma3_text", "gemma4_text"])
def test_attention_in_both_directions_is_refused_by_name(family: str) -> None:
    config = tiny_config(family)
    check_causal("tiny", config)
    config.get_text_config().use_bidirectional_attention = True if family == "gemma3_text" else "all"

    with pytest.raises(ValueError, match="base 'tiny': its layers attend in both directions"):
        check_causal("tiny", config)
    assert not takes_branches(config.get_text_config())


def test_attention_in_both_directions_among_tokens_of_images_is_not_refused() -> None:
    config = tiny_config("gemma4_text")
    config.get_text_config().use_bidirectional_attention = "vision"

    check_causal("tiny", config)
    assert not takes_branches(config.get_text_config())
