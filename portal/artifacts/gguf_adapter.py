"""A PEFT adapter as a GGUF file, which llama.cpp adds to a model: `--lora FILE`.

Format: llama.cpp's file of `general.type` adapter: `adapter.lora.alpha`, and for each adapted weight its name
in GGUF with `.lora_a` (r, d_in) and `.lora_b` (d_out, r), fp32.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from portal.artifacts.adapter_record import ADAPTER_CONFIG
from portal.artifacts.peft_adapter import read_peft_factors
from portal.bases.gguf.reader import PACKAGE_HINT
from portal.storage.atomic import aside

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "smollm3": "smollm3",
    "granite": "granite",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3",
    "gemma3_text": "gemma3",
    "olmo2": "olmo2",
    "phi3": "phi3",
}
"""llama.cpp's name of an architecture, by `model_type` of a transformers config."""

_IN_PAIRS = ("llama", "smollm3", "granite")
"""Architectures whose queries and keys llama.cpp rotates in pairs of neighbours, not in halves."""


def write_gguf_adapter(path: Path, folder: Path, config: "PretrainedConfig") -> None:
    """Write the PEFT adapter in `folder` to `path`; `config` is its base's.

    ValueError for a base of another kind than `ARCHITECTURES`, for an adapted module without a name in GGUF,
    and without the package gguf.
    """
    architecture = find_architecture(config)
    import gguf

    text = config.get_text_config()
    kind = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    names = gguf.get_tensor_name_map(kind, text.num_hidden_layers)
    temporary = aside(path)
    writer = gguf.GGUFWriter(temporary, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    alpha = json.loads((folder / ADAPTER_CONFIG).read_bytes())["lora_alpha"]
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    for module, (a, b) in read_peft_factors(folder, torch.device("cpu")).items():
        name = names.get_name(f"{_in_decoder(module)}.weight", try_suffixes=(".weight",))
        if name is None:
            raise ValueError(f"{folder}: {module} has no name in GGUF for {architecture}")
        if architecture in _IN_PAIRS:
            b = _in_pairs(b, module, text)
        writer.add_tensor(f"{name}.lora_a", a.numpy())
        writer.add_tensor(f"{name}.lora_b", b.contiguous().numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def find_architecture(config: "PretrainedConfig") -> str:
    """llama.cpp's name of what the base is; ValueError where no adapter of it can be written."""
    if find_spec("gguf") is None:
        raise ValueError(f"writing GGUF needs the package gguf; {PACKAGE_HINT}")
    if config.model_type not in ARCHITECTURES:
        raise ValueError(
            f"the base is a {config.model_type}, whose adapters are not written as GGUF; known: "
            f"{', '.join(ARCHITECTURES)}. llama.cpp's convert_lora_to_gguf.py reads the folder"
        )
    return ARCHITECTURES[config.model_type]


def _in_decoder(module: str) -> str:
    """The module's path in a decoder that lies in no multimodal model."""
    return re.sub(r"(^|\.)language_model\.", r"\1", module)


def _in_pairs(b: Tensor, module: str, text: "PretrainedConfig") -> Tensor:
    """B with the rows of each head as llama.cpp orders queries and keys: row i beside row i + half."""
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}.get(
        module.rpartition(".")[2]
    )
    if heads is None:
        return b
    return b.view(heads, 2, -1, b.shape[1]).transpose(1, 2).reshape(b.shape)
