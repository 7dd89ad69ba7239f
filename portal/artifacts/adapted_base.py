"""A base under an adapter, as peft reads it or with its weights merged, held against the injected factors."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from portal.artifacts.adapter_record import ADAPTER_WEIGHTS
from portal.bases.base import Base
from portal.bases.family import base_config
from portal.bases.sites import linear_weight
from portal.forward.adapter_hooks import adapted
from portal.hypernet import Factors

CHECK_TOLERANCE = 1e-3
"""Largest accepted difference of logits between the exported adapter and the injected factors, fp32."""


@contextmanager
def peft_adapted(base: Base, folder: Path) -> Iterator[PeftModel]:
    """The base under peft's reading of `folder`; the base gets its own linears back in any case.

    ValueError where peft does not bind every factor in the folder, which it leaves unsaid.
    """
    linears = {site.path: base.model.get_submodule(site.path) for site in base.sites}
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    try:
        model = PeftModel.from_pretrained(base.model, str(folder))
        matched = sum(isinstance(module, LoraLayer) for module in model.modules())
        if matched != len(tensors) // 2:
            raise ValueError(
                f"{folder}: peft adapts {matched} projections of {base.name!r}, the adapter has "
                f"{len(tensors) // 2}"
            )
        loaded = {name.replace(".default.", "."): value for name, value in model.state_dict().items()}
        if lost := [name for name, value in tensors.items() if not _is_same(loaded.get(name), value)]:
            raise ValueError(
                f"{folder}: peft does not load {len(lost)} of {len(tensors)} tensors, {lost[0]} for one"
            )
        yield model
    finally:
        for path, linear in linears.items():
            base.model.set_submodule(path, linear)
        if hasattr(base.model, "peft_config"):
            del base.model.peft_config  # peft's note that the model is adapted, which it is no longer


def _is_same(loaded: Tensor | None, stored: Tensor) -> bool:
    """Whether peft has a tensor of the file, whatever its precision."""
    return loaded is not None and torch.equal(loaded.cpu().float(), stored.float())


def check_export(folder: Path, base: Base, factors: Factors, scaling: float) -> float:
    """Largest logit difference between peft's reading of `folder` and the injected factors, on random tokens.

    Raises ValueError when it exceeds `CHECK_TOLERANCE`, when the adapter leaves the base's logits as they
    are, or for a base that is not in fp32. The base is unchanged afterwards.
    """
    _check_whole(base)
    with adapted(base, factors, scaling):
        injected = _logits(base)
    plain = _logits(base)
    with peft_adapted(base, folder) as model:
        reloaded = _logits(base, model)
    difference = (reloaded - injected).abs().max().item()
    if not difference <= CHECK_TOLERANCE:
        raise ValueError(f"{folder}: peft's logits differ from the injected adapter's by {difference:.2e}")
    if torch.equal(injected, plain) or torch.equal(reloaded, plain):
        raise ValueError(f"{folder}: the adapter changes nothing in base {base.name!r}")
    return difference


def merge_task(base: Base, factors: Factors, scaling: float, folder: Path) -> float:
    """Write the base with one task's adapter added to its weights, W + scaling B A, and its tokenizer.

    Weights are saved in the precision of the base's checkpoint. Returns the largest logit difference from the
    injected adapter before that rounding; ValueError when it exceeds `CHECK_TOLERANCE`, and for a base that
    is not in fp32. The base in memory is as before afterwards.
    """
    _check_whole(base)
    with adapted(base, factors, scaling):
        injected = _logits(base)
    with _merged(base, factors, scaling):
        difference = (_logits(base) - injected).abs().max().item()
        if not difference <= CHECK_TOLERANCE:
            raise ValueError(
                f"{folder}: merged logits differ from the injected adapter's by {difference:.2e}"
            )
        _save_model(base, folder)
    base.tokenizer.save_pretrained(folder)
    return difference


@contextmanager
def _merged(base: Base, factors: Factors, scaling: float) -> Iterator[None]:
    """The factors are added to the base's weights in the block."""
    paths = {(site.module, site.layer): site.path for site in base.sites}
    originals = {}
    with torch.no_grad():
        for group, (a, b) in factors.items():
            for index, layer in enumerate(group.layers):
                weight = linear_weight(base.model.get_submodule(paths[group.module, layer]))
                originals[weight] = weight.clone()
                update = scaling * (b[0, index].float() @ a[0, index].float())
                weight += update.to(weight.device, weight.dtype)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, original in originals.items():
                weight.copy_(original)


def _check_whole(base: Base) -> None:
    """ValueError for a base whose weights are rounded: its logits differ by more than any fault."""
    (dtype, *others) = {parameter.dtype for parameter in base.model.parameters()}
    if others or dtype != torch.float32:
        raise ValueError(
            f"base {base.name!r} is not in fp32, in which adapters are checked and merged: load it on a CPU "
            "with precision 'default'"
        )


@torch.inference_mode()
def _logits(base: Base, model: PeftModel | None = None) -> Tensor:
    """Of the base, or of a `model` made of it, on random token ids, (2, 16), the same every time."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, base.text_config.vocab_size, (2, 16), generator=generator).to(base.device)
    logits: Tensor = (model or base.model)(input_ids=ids, use_cache=False).logits
    return logits


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
