"""Which bases take all choices of a question in one row.

Bases are made as causal language models, or as models of images where transformers has nothing else.
Checkpoints in FP8 and MXFP4, made here value by value, are read as the weights that they stand for.
"""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GptOssConfig,
    PretrainedConfig,
    Qwen3Config,
)

from portal.bases.base import load_base, quantised_base
from portal.bases.family import (
    attention_implementation,
    base_sites,
    check_causal,
    layer_kinds,
    model_class,
    outline_config,
    takes_branches,
    window_of,
)
from portal.cli import main
from tests.support.bases import character_tokenizer, make_base
from tests.support.zoo import tiny_config


def test_layers_that_attend_by_masks_and_positions_take_branches_and_others_do_not() -> None:
    for family in ("qwen3", "llama", "gemma3"):
        base = make_base("tiny", family)
        assert takes_branches(base.text_config)
        assert attention_implementation(base.model.config) == "sdpa"
    for family, attention in (("gpt_oss", "eager"), ("gemma2", "eager"), ("falcon_h1", "sdpa")):
        assert attention_implementation(tiny_config(family)) == attention
        assert not takes_branches(tiny_config(family).get_text_config())

    config, plain = (make_base("tiny", family).text_config for family in ("gemma3", "llama"))
    chunked, eager = copy.deepcopy(config), copy.deepcopy(config)
    chunked.layer_types = ["chunked_attention", "full_attention", "full_attention"]
    eager._attn_implementation = "eager"
    plain.sliding_window, plain.layer_types = 4, ["chunked_attention"]  # which a llama does not read
    assert [takes_branches(each) for each in (chunked, eager, plain)] == [False, False, True]
    assert window_of(plain) is layer_kinds(plain) is None


@pytest.mark.parametrize("family", ["gemma3_text", "gemma4_text"])
def test_attention_in_both_directions_is_refused_by_name(family: str) -> None:
    config = tiny_config(family)
    check_causal("tiny", config)
    config.get_text_config().use_bidirectional_attention = True if family == "gemma3_text" else "all"

    with pytest.raises(ValueError, match="base 'tiny': its layers attend in both directions"):
        check_causal("tiny", config)
    assert not takes_branches(config.get_text_config())
    if family == "gemma4_text":  # among tokens of images, which no row has, it is not refused
        config.get_text_config().use_bidirectional_attention = "vision"
        check_causal("tiny", config)
        assert not takes_branches(config.get_text_config())


def test_a_base_is_made_as_a_causal_language_model_or_with_its_vision_tower_if_it_reads_text_alone() -> None:
    for name in ("qwen3-4b", "qwen3.5-4b", "gemma-3-4b", "gemma-4-e2b", "llama-4-scout"):
        assert model_class(outline_config(name)) is AutoModelForCausalLM
    assert model_class(outline_config("ministral-3-3b")) is AutoModelForImageTextToText
    for family in ("t5gemma2", "idefics2"):
        config = AutoConfig.for_model(family)
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            model_class(config).from_config(config)


BLOCK = 128
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
"""Values of the sixteen codes of four bits: OCP Microscaling Formats 1.0, table 5."""


def as_fp8(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scales of blocks of 128 x 128, and what both stand for."""
    rows, columns = weight.shape
    blocks = weight.float().view(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    scale = blocks.abs().amax(dim=(1, 3)) / 448
    codes = (blocks / scale[:, None, :, None]).to(torch.float8_e4m3fn)
    meant = (codes.float() * scale[:, None, :, None]).view(rows, columns)
    return codes.view(rows, columns).contiguous(), scale, meant.to(torch.bfloat16)


def draw_mxfp4(experts: int, columns: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two codes a byte, a power of two for 32 of them, and what both stand for, (experts, columns, rows)."""
    codes = torch.randint(0, 16, (experts, rows, columns // 32, 32))
    powers = torch.randint(118, 124, (experts, rows, columns // 32))
    meant = (FP4[codes] * torch.exp2(powers[..., None] - 127.0)).view(experts, rows, columns)
    packed = (codes[..., 0::2] | (codes[..., 1::2] << 4)).to(torch.uint8)
    return packed, powers.to(torch.uint8), meant.transpose(1, 2).to(torch.bfloat16)


def save(
    folder: Path, config: PretrainedConfig, weights: dict[str, Tensor], quantised: dict[str, object]
) -> None:
    save_file(
        {name: weight.contiguous() for name, weight in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, "quantization_config": quantised}))
    character_tokenizer(bos=False).save_pretrained(folder)


SMALL = {"vocab_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def fp8(tmp_path: Path) -> dict[str, Tensor]:
    """What the weights of an FP8 checkpoint in `tmp_path` stand for."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "head_dim": 32, "intermediate_size": 256, "num_key_value_heads": 4}
    names = {"tie_word_embeddings": True, "architectures": ["Qwen3ForCausalLM"]}
    config = Qwen3Config(**SMALL, **sizes, **names)
    meant, written = {}, {}
    for name, weight in AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).state_dict().items():
        if name.endswith("proj.weight"):
            written[name], written[f"{name}_scale_inv"], meant[name] = as_fp8(weight)
        elif name != "lm_head.weight":
            written[name] = meant[name] = weight
    blocks = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}
    save(tmp_path, config, written, blocks)
    return meant


def test_an_fp8_checkpoint_is_read_as_the_weights_that_it_stands_for(
    fp8: dict[str, Tensor], tmp_path: Path
) -> None:
    base = load_base(str(tmp_path))

    found = base.model.state_dict()
    assert {weight.dtype for weight in found.values()} == {torch.float32}
    for name, weight in fp8.items():
        assert torch.equal(found[name].to(torch.bfloat16), weight)
    assert len(base.sites) == len(base_sites(str(tmp_path))) == 14


def test_an_mxfp4_checkpoint_is_read_as_the_weights_that_it_stands_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "head_dim": 16, "intermediate_size": 32, "num_key_value_heads": 2}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2, "architectures": ["GptOssForCausalLM"]}
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    config = GptOssConfig(**SMALL, **sizes, **experts, **tokens)
    meant, written = {}, {}
    for name, weight in AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).state_dict().items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            written[f"{name}_blocks"], written[f"{name}_scales"], meant[name] = draw_mxfp4(*weight.shape)
        else:
            written[name] = meant[name] = weight
    save(tmp_path, config, written, {"quant_method": "mxfp4"})

    found = load_base(str(tmp_path)).model.state_dict()

    assert found.keys() == meant.keys()
    for name, weight in meant.items():
        assert torch.equal(found[name].to(torch.bfloat16), weight), name


def test_weights_are_not_quantised_twice_and_formats_that_are_not_dequantised_are_refused_unread(
    fp8: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=r"quantised by 'fp8' already; precision '4bit'"):
        quantised_base(str(tmp_path), "4bit", torch.device("cpu"))
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")

    assert main(["bases", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert "its weights are quantised by 'gptq'; only those by mxfp4, fp8 are dequantised" in error
    assert error.count("\n") == 1
