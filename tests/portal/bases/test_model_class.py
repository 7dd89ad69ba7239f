"""Bases are made as causal language models, or as models of images where transformers has nothing else."""

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from portal.bases.base_config import outline_config
from portal.bases.model_class import model_class


@pytest.mark.parametrize("name", ["qwen3-4b", "qwen3.5-4b", "gemma-3-4b", "gemma-4-e2b", "llama-4-scout"])
def test_what_has_a_causal_language_model_is_made_as_one(name: str) -> None:
    assert model_class(outline_config(name)) is AutoModelForCausalLM


def test_ministral_3_is_made_with_its_vision_tower() -> None:
    assert model_class(outline_config("ministral-3-3b")) is AutoModelForImageTextToText


@pytest.mark.parametrize("family", ["t5gemma2", "idefics2"])
def test_a_family_that_was_not_found_to_read_text_alone_is_no_base(family: str) -> None:
    config = AutoConfig.for_model(family)

    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        model_class(config).from_config(config)
