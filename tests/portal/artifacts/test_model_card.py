"""A card says with which class of transformers the base is loaded."""

import pytest

from portal.artifacts.model_card import adapter_card
from portal.config import AdapterConfig


@pytest.mark.parametrize(
    ("base", "loader"),
    [
        ("Qwen/Qwen3-4B", "AutoModelForCausalLM"),
        ("Qwen/Qwen3.5-4B", "AutoModelForCausalLM"),
        ("mistralai/Ministral-3-3B-Base-2512", "AutoModelForImageTextToText"),
        ("google/gemma-4-E2B", "AutoModelForCausalLM"),
        ("meta-llama/Llama-4-Scout-17B-16E", "AutoModelForCausalLM"),
        ("someone/else", "AutoModelForCausalLM"),
    ],
)
def test_the_base_is_loaded_with_its_class(base: str, loader: str) -> None:
    adapter = AdapterConfig(modules=("q", "v"), rank=8, alpha=16)

    card = adapter_card(task="sums", base=base, revision=None, adapter=adapter, modules="q, v", record=None)

    assert f"from transformers import {loader}\n" in card
    assert f'{loader}.from_pretrained("{base}")' in card
