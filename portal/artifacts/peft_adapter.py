"""LoRA factors of one task as a standard PEFT adapter: its folder written and read, and its GGUF file.

Only the portable subset is written: one rank, one alpha, no patterns, no rslora, bias none.

llama.cpp adds the GGUF file to a model by `--lora FILE`. Its `general.type` is adapter; it holds
`adapter.lora.alpha`, and for each adapted weight its name in GGUF with `.lora_a` (r, d_in) and `.lora_b`
(d_out, r), fp32.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from portal.artifacts.adapter_record import (
    ADAPTER_CONFIG,
    ADAPTER_RECORD,
    ADAPTER_WEIGHTS,
    AdapterRecord,
    check_adapter_files,
    read_adapter_record,
)
from portal.artifacts.model_card import RunRecord, adapter_card
from portal.bases.base import Base
from portal.bases.gguf_files import PACKAGE_HINT
from portal.bases.sites import MODULE_PATHS, SiteGroup, count_groups, name_modules
from portal.config import AdapterConfig
from portal.hypernet import Factors
from portal.storage.atomic import aside, json_bytes, write_bytes_atomic

if TYPE_CHECKING:
    from transformers import PretrainedConfig


NamedFactors = dict[str, tuple[Tensor, Tensor]]
"""A (r, d_in) and B (d_out, r) by the path of the adapted linear in the base."""


def save_task_adapters(
    folder: Path, factors: Mapping[str, Factors], *, base: Base, adapter: AdapterConfig, record: RunRecord
) -> None:
    """Write the adapter of every task into `folder/<task>`; `factors` have a slot dimension of 1."""
    for task, own in factors.items():
        save_peft_adapter(folder / task, base=base, adapter=adapter, factors=own, task=task, record=record)


def save_peft_adapter(
    folder: Path,
    *,
    base: Base,
    adapter: AdapterConfig,
    factors: Factors,
    task: str,
    record: RunRecord | None = None,
) -> None:
    """Write the adapter of one task (slot dimension of size 1) for a loaded base."""
    paths = {(site.module, site.layer): site.path for site in base.sites}
    named = {
        paths[group.module, layer]: (a[0, index], b[0, index])
        for group, (a, b) in factors.items()
        for index, layer in enumerate(group.layers)
    }
    made_for = AdapterRecord(base=base.public_name, revision=base.revision, task=task)
    modules = name_modules(count_groups(factors), base.num_layers)
    alone = namesakes(base, factors)
    write_adapter(
        folder, named, adapter=adapter, made_for=made_for, modules=modules, record=record, left_alone=alone
    )


def write_adapter(
    folder: Path,
    named: NamedFactors,
    *,
    adapter: AdapterConfig,
    made_for: AdapterRecord,
    modules: str,
    record: RunRecord | None,
    left_alone: tuple[str, ...] = (),
) -> None:
    """Write weights, card, record and, last of all, the config.

    `modules` names what is adapted, for the card; `left_alone` are its namesakes.
    """
    tensors = {}
    for path, (a, b) in sorted(named.items()):
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.detach().float().cpu().contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.detach().float().cpu().contiguous()
    contents = {
        ADAPTER_WEIGHTS: save(tensors, metadata={"format": "pt"}),
        ADAPTER_CONFIG: json_bytes(_peft_config(adapter, made_for, named, left_alone)),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    own = made_for.model_copy(update={"files": digests})
    card = adapter_card(made_for, adapter=adapter, modules=modules, record=record)
    write_bytes_atomic(folder / ADAPTER_WEIGHTS, contents[ADAPTER_WEIGHTS])
    write_bytes_atomic(folder / "README.md", card.encode())
    write_bytes_atomic(folder / ADAPTER_RECORD, json_bytes(own.model_dump(mode="json")))
    write_bytes_atomic(folder / ADAPTER_CONFIG, contents[ADAPTER_CONFIG])


def read_peft_factors(folder: Path, device: torch.device) -> NamedFactors:
    """The factors of an adapter written here, fp32; ValueError when its files were altered since."""
    check_adapter_files(folder, read_adapter_record(folder))
    tensors = load_file(folder / ADAPTER_WEIGHTS, device=str(device))
    paths = sorted({name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors})
    return {
        path: (
            tensors[f"base_model.model.{path}.lora_A.weight"],
            tensors[f"base_model.model.{path}.lora_B.weight"],
        )
        for path in paths
    }


def _peft_config(
    adapter: AdapterConfig, made_for: AdapterRecord, named: NamedFactors, left_alone: tuple[str, ...]
) -> dict[str, object]:
    """The adapter's config as peft would write it, with sorted lists where peft keeps sets."""
    from peft import LoraConfig  # seconds, which who only reads an artifact need not wait

    revision = made_for.revision
    suffixes = sorted({target_of(re.split(r"\.\d+\.", path, maxsplit=1)[1]) for path in named})
    config = LoraConfig(
        base_model_name_or_path=made_for.base,
        revision=revision if revision and len(revision) == 40 else None,  # a commit; no digest of files
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=suffixes,
        inference_mode=True,
    ).to_dict()
    config["target_modules"] = suffixes
    excluded = exclusion(left_alone, in_multimodal=any("language_model." in path for path in named))
    if excluded is not None:
        config["exclude_modules"] = excluded
    return {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}


def target_of(path_in_layer: str) -> str:
    """The end of the path: its last name where a Llama-like layer has it, else all of it."""
    return path_in_layer.rsplit(".", 1)[1] if path_in_layer in MODULE_PATHS.values() else path_in_layer


def namesakes(base: Base, groups: Iterable[SiteGroup]) -> tuple[str, ...]:
    """Paths below a layer of modules that are not adapted and that peft would find by the groups' targets."""
    adapted = {group.path for group in groups}
    endings = tuple(f".{target_of(path)}" for path in adapted)
    layers = base.model.get_submodule(base.layer_path)
    paths = {path for layer in layers for path, _ in layer.named_modules()} - adapted
    return tuple(sorted(path for path in paths if f".{path}".endswith(endings)))


def exclusion(paths: Iterable[str], *, in_multimodal: bool) -> str | None:
    """The pattern of modules that peft leaves alone; None where there are none."""
    parts = [re.escape(path) for path in paths]
    patterns = [rf".*\.\d+\.({'|'.join(parts)})"] if parts else []
    if in_multimodal:
        patterns.append(".*(vision_tower|multi_modal_projector).*")
    return "|".join(patterns) or None


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
        path_in_decoder = re.sub(r"(^|\.)language_model\.", r"\1", module)
        name = names.get_name(f"{path_in_decoder}.weight", try_suffixes=(".weight",))
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


def _in_pairs(b: Tensor, module: str, text: "PretrainedConfig") -> Tensor:
    """B with the rows of each head as llama.cpp orders queries and keys: row i beside row i + half."""
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}.get(
        module.rpartition(".")[2]
    )
    if heads is None:
        return b
    return b.view(heads, 2, -1, b.shape[1]).transpose(1, 2).reshape(b.shape)
