"""Export of one task's factors as a standard PEFT adapter, and its self-check.

Only the portable subset is written: one rank, one alpha, no patterns, no rslora, bias none.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import save
from torch import Tensor

from portal.adapt import AdapterHooks, Segment
from portal.artifact import Artifact
from portal.bases import Base
from portal.checkpoint import write_bytes_atomic, write_json_atomic
from portal.config import AdapterConfig
from portal.hypernet import Factors
from portal.sites import MODULE_PATHS

CHECK_TOLERANCE = 1e-3
"""Largest accepted difference of logits between the exported adapter and the injected factors, fp32."""


def save_peft_adapter(
    folder: Path, *, base: Base, adapter: AdapterConfig, factors: Factors, task: str
) -> None:
    """Write the adapter of one task (slot dimension of size 1) for a loaded base."""
    paths = {(site.module, site.layer): site.path for site in base.sites}
    named = {
        paths[group.module, layer]: (a[0, index], b[0, index])
        for group, (a, b) in factors.items()
        for index, layer in enumerate(group.layers)
    }
    _write(folder, named, adapter, base.public_name, base.revision, task)


def export_task(artifact: Artifact, task: str, folder: Path) -> None:
    """Write the PEFT adapter that `artifact` generates for `task`; the base is not loaded."""
    config = artifact.config
    named = {
        config.path(group.module, layer): (a[0, index], b[0, index])
        for group, (a, b) in artifact.factors((task,)).items()
        for index, layer in enumerate(group.layers)
    }
    _write(folder, named, config.adapter, config.base_model_name_or_path, config.base_model_revision, task)


def check_export(folder: Path, base: Base, factors: Factors, scaling: float) -> float:
    """Largest logit difference between peft's reading of `folder` and the injected factors, on random tokens.

    Raises ValueError when it exceeds `CHECK_TOLERANCE`, or when the adapter leaves the base's logits as they
    are. The base is unchanged afterwards.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, base.text_config.vocab_size, (2, 16), generator=generator).to(base.device)
    with torch.inference_mode():
        plain = base.model(input_ids=ids, use_cache=False).logits
        with AdapterHooks(base.model, base.sites).active([Segment(1, factors, scaling)]):
            injected = base.model(input_ids=ids, use_cache=False).logits
    reloaded = _peft_logits(folder, base, ids)
    difference = (reloaded - injected).abs().max().item()
    if not difference <= CHECK_TOLERANCE:
        raise ValueError(f"{folder}: peft's logits differ from the injected adapter's by {difference:.2e}")
    if torch.equal(injected, plain) or torch.equal(reloaded, plain):
        raise ValueError(f"{folder}: the adapter changes nothing in base {base.name!r}")
    return difference


def _peft_logits(folder: Path, base: Base, ids: Tensor) -> Tensor:
    """Logits of the base under peft's reading of `folder`; the base gets its own linears back in any case."""
    linears = {site.path: base.model.get_submodule(site.path) for site in base.sites}
    try:
        model = PeftModel.from_pretrained(base.model, str(folder))
        with torch.inference_mode():
            return model(input_ids=ids, use_cache=False).logits
    finally:
        for path, linear in linears.items():
            base.model.set_submodule(path, linear)


def _write(
    folder: Path,
    named: dict[str, tuple[Tensor, Tensor]],
    adapter: AdapterConfig,
    base_name: str,
    revision: str | None,
    task: str,
) -> None:
    suffixes = sorted({MODULE_PATHS[module].rsplit(".", 1)[1] for module in adapter.modules})
    config = LoraConfig(
        base_model_name_or_path=base_name,
        revision=revision
        if revision and len(revision) == 40
        else None,  # a hub commit, not a digest of files
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=suffixes,
        inference_mode=True,
    ).to_dict()
    config["target_modules"] = suffixes  # peft keeps a set; a file needs one order
    if any("language_model." in path for path in named):
        config["exclude_modules"] = ".*(vision_tower|multi_modal_projector).*"
    tensors = {}
    for path, (a, b) in sorted(named.items()):
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.detach().float().cpu().contiguous()
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.detach().float().cpu().contiguous()
    write_bytes_atomic(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
    write_bytes_atomic(folder / "README.md", _card(base_name, adapter, task).encode())
    write_json_atomic(folder / "adapter_config.json", {key: _plain(value) for key, value in config.items()})


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else value


def _card(base_name: str, adapter: AdapterConfig, task: str) -> str:
    return (
        f"---\nbase_model: {base_name}\nlibrary_name: peft\ntags:\n- lora\n- portal\n---\n\n"
        f"# LoRA adapter: {task}\n\nA standard PEFT adapter for task `{task}` on `{base_name}`: "
        f"rank {adapter.rank}, alpha {adapter.alpha}, projections {', '.join(adapter.modules)}.\n"
    )
