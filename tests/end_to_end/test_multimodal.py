"""Bases whose text decoder lies inside a multimodal model: Gemma 3 from 4B on, Ministral 3 and Llama 4."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Llama4Config,
    Llama4ForConditionalGeneration,
    Llama4TextConfig,
    Llama4VisionConfig,
    Ministral3Config,
    Ministral3ForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PixtralVisionConfig,
    PretrainedConfig,
    SiglipVisionConfig,
)

from portal.artifacts.adapted_base import check_export
from portal.artifacts.artifact import Artifact
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base, load_base
from portal.bases.family import base_sites
from portal.config import AdapterConfig
from portal.data.token_rows import encode_example
from portal.evaluate.loglikelihood import score_rows
from portal.forward.adapter_hooks import AdapterHooks, Segment
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.tasks.example import Example
from tests.support.artifacts import write_artifact
from tests.support.bases import TASKS, character_tokenizer, random_factors
from tests.support.scoring import score_one_by_one

LAYERS = "model.language_model.layers"
ADAPTER = AdapterConfig(modules=("q", "v", "down"), rank=4, alpha=8)


TEXT = {
    "vocab_size": 128,
    "hidden_size": 24,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "bos_token_id": 1,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def gemma3() -> Gemma3Config:
    """A tiny one with sliding layers."""
    text = Gemma3TextConfig(
        **TEXT,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=12,
    )
    return Gemma3Config(
        text_config=text,
        vision_config=SiglipVisionConfig(**VISION),
        mm_tokens_per_image=4,
        image_token_index=127,
        boi_token_index=125,
        eoi_token_index=126,
    )


def ministral3() -> Mistral3Config:
    """A tiny one, whose head is no embedding."""
    return Mistral3Config(
        text_config=Ministral3Config(**TEXT),
        vision_config=PixtralVisionConfig(**VISION),
        image_token_index=127,
        tie_word_embeddings=False,
    )


@dataclass(frozen=True)
class Family:
    """A family of multimodal bases: a config, its model, and the class of its decoder alone."""

    config: Callable[[], PretrainedConfig]
    model: Any
    text_only: Any


FAMILIES = {
    "gemma3": Family(gemma3, Gemma3ForConditionalGeneration, Gemma3ForCausalLM),
    "ministral3": Family(ministral3, Mistral3ForConditionalGeneration, Ministral3ForCausalLM),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with a vision tower and a projector, as it would lie on the hub."""
    torch.manual_seed(0)
    model = family.model(family.config())
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(4)
    folder = tmp_path_factory.mktemp("multimodal")
    model.save_pretrained(folder)
    character_tokenizer(bos=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return load_base(str(folder))


def examples() -> list[Example]:
    return [
        Example(
            "t", str(n), f"Question {n}: which one is it?\nAnswer:", (" red", " reddish", " no"), 1, str(n)
        )
        for n in range(3)
    ]


def test_the_text_decoder_is_found_and_the_vision_tower_is_left_alone(folder: Path, base: Base) -> None:
    assert base.layer_path == LAYERS
    assert all(site.path.startswith(f"{LAYERS}.") for site in base.sites)
    assert len(base.sites) == 3 * 7
    assert base_sites(str(folder)) == base.sites


def test_packed_scores_are_those_of_one_row_a_choice(base: Base) -> None:
    rows = [encode_example(example, "test", base.tokenizer, max_prompt=100) for example in examples()]

    for item in score_rows(base, rows):
        assert item.scores == pytest.approx(score_one_by_one(base, item.row), abs=1e-4)


def test_adapters_get_gradients_through_the_wrapper_and_their_export_spares_the_vision_tower(
    base: Base, tmp_path: Path
) -> None:
    rows = tuple(encode_example(example, "train", base.tokenizer, max_prompt=100) for example in examples())
    factors = random_factors(base, ADAPTER.modules, rank=4, slots=1, seed=0)
    leaves = [factor.requires_grad_() for pair in factors.values() for factor in pair]

    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, ADAPTER.scaling)]):
        loss = slot_losses(base, [SlotRows(0, 0, rows)]).sum()
    assert all(gradient.any() for gradient in torch.autograd.grad(loss, leaves))

    save_peft_adapter(tmp_path, base=base, adapter=ADAPTER, factors=factors, task="sums")
    assert check_export(tmp_path, base, factors, ADAPTER.scaling) < 1e-4
    names = load_file(tmp_path / "adapter_model.safetensors").keys()
    assert all(name.startswith(f"base_model.model.{LAYERS}.") and "vision" not in name for name in names)


def test_the_text_layout_binds_to_the_text_only_class(family: Family, base: Base, tmp_path: Path) -> None:
    """In that class the same adapter gives the same logits, with other keys."""
    write_artifact(tmp_path / "artifact", base, ADAPTER)
    artifact = Artifact.load(tmp_path / "artifact")
    task = TASKS[0]
    factors = artifact.factors((task,))
    artifact.export_peft(task, tmp_path / "adapter", layout="text")
    text_only = family.text_only(base.text_config).eval()
    text_only.model.load_state_dict(base.model.model.language_model.state_dict())
    text_only.lm_head.load_state_dict(base.model.lm_head.state_dict())
    ids = torch.arange(3, 23)[None]
    with torch.inference_mode():
        segment = Segment(1, factors, artifact.config.adapter.scaling)
        with AdapterHooks(base.model, base.sites).active([segment]):
            injected = base.model(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(text_only, str(tmp_path / "adapter"))(input_ids=ids).logits

    torch.testing.assert_close(adapted, injected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(injected, base.model(input_ids=ids).logits, atol=1e-4)


def test_llama_4_is_loaded_as_its_decoder_from_what_is_published(tmp_path: Path) -> None:
    """Its weights come with a vision tower's; weights that belong nowhere are still refused."""
    torch.manual_seed(0)
    text = Llama4TextConfig(
        **TEXT,
        intermediate_size_mlp=56,
        num_local_experts=2,
        interleave_moe_layer_step=1,
        attention_chunk_size=64,
        pad_token_id=0,
    )
    sizes = {"vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16}
    whole = Llama4ForConditionalGeneration(
        Llama4Config(text_config=text, vision_config=Llama4VisionConfig(**VISION, **sizes))
    ).eval()
    whole.save_pretrained(tmp_path)
    character_tokenizer(bos=False).save_pretrained(tmp_path)

    base = load_base(str(tmp_path))

    ids = torch.arange(3, 23)[None]
    with torch.inference_mode():
        assert torch.equal(base.model(input_ids=ids).logits, whole.language_model(input_ids=ids).logits)
    assert base.layer_path == "model.layers"
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "stray.weight": torch.ones(2)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"unexpected_keys: \['stray.weight'\]"):
        load_base(str(tmp_path))
    wrong = {**weights, "language_model.lm_head.weight": torch.ones(5, TEXT["hidden_size"])}
    save_file(wrong, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"mismatched_keys: .*lm_head"):
        load_base(str(tmp_path))
