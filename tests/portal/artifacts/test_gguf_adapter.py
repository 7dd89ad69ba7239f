"""Adapters as GGUF files; `make serve-test` holds them against llama.cpp's own conversion."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoConfig

from portal.artifacts.gguf_adapter import write_gguf_adapter
from portal.config import AdapterConfig
from portal.modules import ALL_MODULES
from tests.support.artifacts import export_random
from tests.support.bases import make_base

ADAPTER = AdapterConfig(rank=2, alpha=6, modules=ALL_MODULES)


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {each.name: np.array(each.data) for each in GGUFReader(path).tensors}


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_the_file_has_the_factors_as_they_are(family: str, tmp_path: Path) -> None:
    base = make_base("tiny", family)
    factors = export_random(tmp_path / "adapter", base, ADAPTER)

    write_gguf_adapter(tmp_path / "out.gguf", tmp_path / "adapter", base.model.config)

    found = tensors(tmp_path / "out.gguf")
    assert len(found) == 2 * 7 * base.num_layers
    for group, (a, b) in factors.items():
        name = {"q": "attn_q", "o": "attn_output", "down": "ffn_down"}.get(group.module)
        for index, layer in enumerate(group.layers if name is not None else ()):
            assert np.array_equal(found[f"blk.{layer}.{name}.weight.lora_a"], a[0, index])
            assert np.array_equal(found[f"blk.{layer}.{name}.weight.lora_b"], b[0, index])
    fields = GGUFReader(tmp_path / "out.gguf").fields
    assert fields["general.type"].contents() == "adapter"
    assert fields["adapter.lora.alpha"].contents() == 6


def test_rows_of_a_llamas_queries_and_keys_are_in_pairs(tmp_path: Path) -> None:
    """Of a head's rows 0..11, llama.cpp has 0, 6, 1, 7, ...: what is rotated together lies side by side."""
    base = make_base("tiny", "llama")
    factors = export_random(tmp_path / "adapter", base, ADAPTER)

    write_gguf_adapter(tmp_path / "out.gguf", tmp_path / "adapter", base.model.config)

    found = tensors(tmp_path / "out.gguf")
    order = torch.tensor([half * 6 + place for place in range(6) for half in (0, 1)])
    for module, heads in (("q", 4), ("k", 2)):
        b = next(pair[1][0, 0] for group, pair in factors.items() if group.module == module)
        rows = torch.cat([order + 12 * head for head in range(heads)])
        assert np.array_equal(found[f"blk.0.attn_{module}.weight.lora_b"], b[rows])
    v = next(pair[1][0, 0] for group, pair in factors.items() if group.module == "v")
    assert np.array_equal(found["blk.0.attn_v.weight.lora_b"], v)


def test_bases_and_modules_without_a_name_in_gguf_are_refused(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export_random(tmp_path / "adapter", base, ADAPTER)
    other = AutoConfig.for_model("gpt2")

    with pytest.raises(
        ValueError, match=r"the base is a gpt2, whose adapters are not written as GGUF; known: .*qwen3"
    ):
        write_gguf_adapter(tmp_path / "out.gguf", tmp_path / "adapter", other)
    phi3 = AutoConfig.for_model("phi3", num_hidden_layers=1)
    with pytest.raises(ValueError, match="has no name in GGUF for phi3"):
        write_gguf_adapter(tmp_path / "out.gguf", tmp_path / "adapter", phi3)

    assert not list(tmp_path.glob("*.gguf*"))
    assert not list(tmp_path.glob(".*"))


def test_an_altered_adapter_is_not_converted(tmp_path: Path) -> None:
    base = make_base("tiny", "qwen3")
    export_random(tmp_path / "adapter", base, ADAPTER)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lora_alpha": 99}))

    with pytest.raises(ValueError, match="edited or damaged since"):
        write_gguf_adapter(tmp_path / "out.gguf", tmp_path / "adapter", base.model.config)
