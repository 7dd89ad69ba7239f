"""Export of one task's factors as a standard PEFT adapter, and its self-check.

Only the portable subset is written: one rank, one alpha, no patterns, no rslora, bias none.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub import save_torch_state_dict
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord, adapter_card, read_run_record
from portal.bases.base import Base, base_config
from portal.bases.sites import MODULE_PATHS
from portal.config import AdapterConfig
from portal.forward.adapter_hooks import adapted
from portal.hypernet import Factors
from portal.storage.atomic import write_bytes_atomic, write_json_atomic

KeyLayout = Literal["base", "text"]
BASE_RECORD = "portal_base.json"
"""Beside an adapter: the base it was made for, and that base's commit or digest; other tools pass over it."""
CHECK_TOLERANCE = 1e-3
"""Largest accepted difference of logits between the exported adapter and the injected factors, fp32."""


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
    card = adapter_card(
        task=task, base=base.public_name, revision=base.revision, adapter=adapter, record=record
    )
    _write(folder, named, adapter, base.public_name, base.revision, card)


def read_peft_factors(folder: Path, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """A (r, d_in) and B (d_out, r) of an adapter written here, fp32, by the path of the adapted linear."""
    tensors = load_file(folder / "adapter_model.safetensors", device=str(device))
    paths = sorted({name.removeprefix("base_model.model.").rpartition(".lora_")[0] for name in tensors})
    return {
        path: (
            tensors[f"base_model.model.{path}.lora_A.weight"],
            tensors[f"base_model.model.{path}.lora_B.weight"],
        )
        for path in paths
    }


def read_base_revision(folder: Path) -> str | None:
    """The commit or digest of the base that an adapter was made for; None where nothing is recorded."""
    path = folder / BASE_RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(record, dict) or "revision" not in record:
        raise ValueError(f"{path}: does not name the base's revision")
    return None if record["revision"] is None else str(record["revision"])


def export_task(artifact: Artifact, task: str, folder: Path, *, layout: KeyLayout = "base") -> None:
    """Write the PEFT adapter that `artifact` generates for `task`; the base is not loaded.

    Keys follow the base's own layout; `layout="text"` writes those of its text-only class for a base whose
    decoder lies inside a multimodal model. ValueError where the base has no other layout.
    """
    config = artifact.config
    named = {
        _in_layout(config.path(group.module, layer), layout): (a[0, index], b[0, index])
        for group, (a, b) in artifact.factors((task,)).items()
        for index, layer in enumerate(group.layers)
    }
    card = adapter_card(
        task=task,
        base=config.base_model_name_or_path,
        revision=config.base_model_revision,
        adapter=config.adapter,
        record=read_run_record(artifact.folder),
    )
    _write(folder, named, config.adapter, config.base_model_name_or_path, config.base_model_revision, card)


def merge_task(base: Base, factors: Factors, scaling: float, folder: Path) -> float:
    """Write the base with one task's adapter added to its weights, W + scaling B A, and its tokenizer.

    Weights are saved in the precision of the base's checkpoint. Returns the largest logit difference from the
    injected adapter before that rounding; ValueError when it exceeds `CHECK_TOLERANCE`. The base in memory is
    as before afterwards.
    """
    ids = _probe(base)
    paths = {(site.module, site.layer): site.path for site in base.sites}
    with torch.inference_mode(), adapted(base, factors, scaling):
        injected = base.model(input_ids=ids, use_cache=False).logits
    originals = {}
    with torch.no_grad():
        for group, (a, b) in factors.items():
            for index, layer in enumerate(group.layers):
                weight = base.model.get_submodule(paths[group.module, layer]).weight
                originals[weight] = weight.detach().clone()
                update = scaling * (b[0, index].float() @ a[0, index].float())
                weight += update.to(weight.device, weight.dtype)
    try:
        with torch.inference_mode():
            difference = (base.model(input_ids=ids, use_cache=False).logits - injected).abs().max().item()
        if not difference <= CHECK_TOLERANCE:
            raise ValueError(
                f"{folder}: merged logits differ from the injected adapter's by {difference:.2e}"
            )
        _save_model(base, folder)
    finally:
        with torch.no_grad():
            for weight, original in originals.items():
                weight.copy_(original)
    base.tokenizer.save_pretrained(folder)
    return difference


def check_export(folder: Path, base: Base, factors: Factors, scaling: float) -> float:
    """Largest logit difference between peft's reading of `folder` and the injected factors, on random tokens.

    Raises ValueError when it exceeds `CHECK_TOLERANCE`, or when the adapter leaves the base's logits as they
    are. The base is unchanged afterwards.
    """
    ids = _probe(base)
    with torch.inference_mode():
        plain = base.model(input_ids=ids, use_cache=False).logits
        with adapted(base, factors, scaling):
            injected = base.model(input_ids=ids, use_cache=False).logits
    with torch.inference_mode(), peft_adapted(base, folder) as model:
        reloaded = model(input_ids=ids, use_cache=False).logits
    difference = (reloaded - injected).abs().max().item()
    if not difference <= CHECK_TOLERANCE:
        raise ValueError(f"{folder}: peft's logits differ from the injected adapter's by {difference:.2e}")
    if torch.equal(injected, plain) or torch.equal(reloaded, plain):
        raise ValueError(f"{folder}: the adapter changes nothing in base {base.name!r}")
    return difference


def _save_model(base: Base, folder: Path) -> None:
    """Weights, shared ones once, and config, in the precision that the base's own config names."""
    dtype = base_config(base.name).dtype or torch.float32
    state: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in base.model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            state[name] = (tensor.to(dtype) if tensor.is_floating_point() else tensor).cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_torch_state_dict(state, folder)
    config = copy.deepcopy(base.model.config)
    config.dtype = dtype
    config.save_pretrained(folder)


def _probe(base: Base) -> Tensor:
    """Random token ids, (2, 16), the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, base.text_config.vocab_size, (2, 16), generator=generator).to(base.device)


def _in_layout(path: str, layout: KeyLayout) -> str:
    if layout == "base":
        return path
    head, inner, rest = path.partition("language_model.")
    if not inner:
        raise ValueError(
            "layout 'text' is for bases inside a multimodal model; this base is text-only already"
        )
    return f"model.{rest.removeprefix('model.')}" if head in ("model.", "") else path


@contextmanager
def peft_adapted(base: Base, folder: Path) -> Iterator[PeftModel]:
    """The base under peft's reading of `folder`; the base gets its own linears back in any case.

    ValueError where peft does not bind every factor in the folder, which it leaves unsaid.
    """
    linears = {site.path: base.model.get_submodule(site.path) for site in base.sites}
    expected = len(load_file(folder / "adapter_model.safetensors")) // 2
    try:
        model = PeftModel.from_pretrained(base.model, str(folder))
        matched = sum(isinstance(module, LoraLayer) for module in model.modules())
        if matched != expected:
            raise ValueError(
                f"{folder}: peft adapts {matched} projections of {base.name!r}, the adapter has {expected}"
            )
        yield model
    finally:
        for path, linear in linears.items():
            base.model.set_submodule(path, linear)
        if hasattr(base.model, "peft_config"):
            del base.model.peft_config  # peft's note that the model is adapted, which it is no longer


def _write(
    folder: Path,
    named: dict[str, tuple[Tensor, Tensor]],
    adapter: AdapterConfig,
    base_name: str,
    revision: str | None,
    card: str,
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
    write_json_atomic(folder / BASE_RECORD, {"base": base_name, "revision": revision})
    write_bytes_atomic(folder / "README.md", card.encode())
    write_json_atomic(folder / "adapter_config.json", {key: _plain(value) for key, value in config.items()})


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else value
