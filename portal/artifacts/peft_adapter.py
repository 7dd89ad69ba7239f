"""LoRA factors of one task as a standard PEFT adapter: its folder written and read.

Only the portable subset is written: one rank, one alpha, no patterns, no rslora, bias none.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

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
from portal.artifacts.model_card import adapter_card
from portal.artifacts.peft_targets import exclusion, namesakes, target_of
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.bases.sites import count_groups, name_modules
from portal.config import AdapterConfig
from portal.hypernet import Factors
from portal.storage.atomic import json_bytes, write_bytes_atomic

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
    left_alone = namesakes(base, factors)
    modules = name_modules(count_groups(factors), base.num_layers)
    write_adapter(
        folder,
        named,
        adapter=adapter,
        made_for=made_for,
        modules=modules,
        record=record,
        left_alone=left_alone,
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

    `modules` names what is adapted, for the card; `left_alone` are its namesakes (peft_targets.py).
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
    assert made_for.task is not None
    card = adapter_card(
        task=made_for.task,
        base=made_for.base,
        revision=made_for.revision,
        adapter=adapter,
        modules=modules,
        record=record,
    )
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
