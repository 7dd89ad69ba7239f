"""Known bases and any other: load frozen, find the adapted linears, divide over GPUs, count parameters.

Precision, stated once: a frozen base is bf16 on a GPU and fp32 on a CPU; on request it is bf16 on a CPU that
multiplies it (precision.py) or, on a GPU only, in 8 or 4 bits by bitsandbytes. Adapters, latents, core,
converters, logits and losses are fp32 everywhere; factors are cast at the point of use.

A base that is divided over GPUs keeps its decoder layers whole and in order, and the GPUs compute in turns.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedTokenizerBase
from transformers import logging as transformers_logging
from transformers.pytorch_utils import Conv1D

from portal.bases.family import (
    attention_implementation,
    base_config,
    check_checkpoint,
    dequantisation,
    find_layers,
    is_of_a_tower,
    load_tokenizer,
    model_class,
    outline_model,
    read_config,
    takes_branches,
)
from portal.bases.files import BaseFiles, hub_error, locate
from portal.bases.operations import Operations, fuse_operations, usual_operations
from portal.bases.precision import QUANTISED, check_precision, weights_dtype
from portal.bases.registry import public_name
from portal.bases.sites import Site, find_layer_path
from portal.config import Precision
from portal.device import is_out_of_memory, own_gpus, prepare_cpu, prepare_gpu


@dataclass(frozen=True)
class Base:
    """A frozen language model in evaluation mode, its tokenizer, and where it can be adapted."""

    name: str
    revision: str
    model: Any  # a transformers language model; its class is chosen by the checkpoint (family.py)
    tokenizer: PreTrainedTokenizerBase
    layer_path: str
    sites: tuple[Site, ...]
    operations: Operations = "plain"

    @property
    def public_name(self) -> str:
        """What artifacts call this base: the hub id, or the name where the weights are local."""
        return public_name(self.name)

    @property
    def device(self) -> torch.device:
        """Where the weights are; `meta` for a base without weights."""
        return next(self.model.parameters()).device

    @property
    def text_config(self) -> PretrainedConfig:
        return self.model.config.get_text_config()

    @property
    def takes_branches(self) -> bool:
        """Whether a row may hold all choices of a question (family.py)."""
        return takes_branches(self.text_config)

    @property
    def num_layers(self) -> int:
        return len(self.model.get_submodule(self.layer_path))

    @property
    def layers(self) -> tuple[str, ...]:
        """Paths of the decoder layers."""
        return tuple(f"{self.layer_path}.{index}" for index in range(self.num_layers))

    @cached_property
    def num_decoder_params(self) -> int:
        """Parameters of the decoder layers, without embeddings and head.

        A linear layer's are counted by its widths: 4-bit weights lie packed, two in a number.
        """
        layers = self.model.get_submodule(self.layer_path)
        linears = [module for module in layers.modules() if isinstance(module, nn.Linear)]
        weights = {id(linear.weight) for linear in linears}
        others = sum(each.numel() for each in layers.parameters() if id(each) not in weights)
        return others + sum(linear.in_features * linear.out_features for linear in linears)

    @cached_property
    def num_active_params(self) -> int:
        """Those of them that a token meets: of a mixture's routed experts it meets a few."""
        layers = self.model.get_submodule(self.layer_path)
        return self.num_decoder_params - idle_params(layers, self.text_config)


def load_base(
    name: str,
    *,
    device: str = "cpu",
    revision: str | None = None,
    precision: Precision = "default",
    verified: bool = False,
    operations: Operations | None = None,
    num_gpus: int = 1,
) -> Base:
    """The base, frozen, in evaluation mode, with these operations, else the usual ones. Attention is sdpa, or
    eager in families without it.

    With several `num_gpus` its layers are divided over so many GPUs of this process;
    `Base.device` is then the first. On a CPU they mean nothing.

    `revision` is what `resolve` returned earlier: another digest or commit now is a ValueError, as are
    unreadable or incomplete weights (missing or unexpected tensors). `verified`: whether a local base's files
    are those of `revision` is found out elsewhere, and they are not read for that here.
    """
    check_precision(precision, device)
    files = locate(name)
    if revision is None:
        revision = files.revision()
    elif files.is_local and not verified:
        files.check(revision)
    files = replace(files, commit=None if files.is_local else revision)
    where = torch.device(device)
    gpus = own_gpus(num_gpus) if num_gpus > 1 and where.type == "cuda" else []
    return with_operations(_base(files, revision, _load_model(files, where, precision, gpus)), operations)


def quantised_base(name: str, precision: Precision, device: torch.device) -> Base:
    """The base in 8 or 4 bits; also on a CPU, where studies refuse it and bitsandbytes must be installed."""
    files = locate(name)
    return with_operations(_base(files, files.revision(), _load_model(files, device, precision)))


def with_operations(base: Base, operations: Operations | None = None) -> Base:
    """The base with these operations, else those that are usual on its device in its precision."""
    wanted = operations or usual_operations(base.model.dtype, on_gpu=base.device.type == "cuda")
    return with_fused_operations(base) if wanted == "fused" else base


def with_fused_operations(base: Base) -> Base:
    """The base after `fuse_operations` of its model; as it was where nothing of it could be replaced."""
    return replace(base, operations="fused") if fuse_operations(base.model) else base


def outline_base(name: str, *, revision: str) -> Base:
    """The base without its weights, on the device `meta`: what it adapts and how large it is.

    `revision` is taken on trust: who loads the weights checks it.
    """
    files = locate(name)
    model = outline_model(base_config(name))
    return _base(replace(files, commit=None if files.is_local else revision), revision, model)


def _base(files: BaseFiles, revision: str, model: Any) -> Base:
    layer_path, sites = find_layers(files.name, model)
    return Base(
        name=files.name,
        revision=revision,
        model=model,
        tokenizer=load_tokenizer(files.name, revision=files.commit),
        layer_path=layer_path,
        sites=sites,
    )


def _quantisation(precision: Precision) -> dict[str, Any]:
    """What from_pretrained needs for a base in this precision."""
    if precision not in QUANTISED:
        return {}
    config = (
        # With another threshold a large value in one row takes its column out of int8 for all rows of the
        # batch: learners in a pack would change each other's numbers, and each layer waits for the host.
        BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=0.0)
        if precision == "8bit"
        else BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    )
    return {"quantization_config": config}


def _places(
    config: PretrainedConfig,
    device: torch.device,
    precision: Precision,
    gpus: Sequence[int],
    *,
    is_dequantised: bool,
) -> dict[str, Any]:
    """What from_pretrained needs where weights are placed while they are read."""
    if gpus:
        division = divide(outline_model(config), len(gpus), precision, weights_dtype(precision, on_gpu=True))
        return {"device_map": {name: gpus[number] for name, number in division.items()}}
    if precision not in QUANTISED and not is_dequantised:
        return {}
    if device.type == "cuda" and torch.cuda.is_available():
        # By its number: threads that read weights do not have this one's current device.
        device = torch.device("cuda", torch.cuda.current_device())
    return {"device_map": {"": device}}


def _load_model(
    files: BaseFiles, device: torch.device, precision: Precision, gpus: Sequence[int] = ()
) -> Any:
    on_gpu = device.type == "cuda"
    if on_gpu:
        prepare_gpu()
    else:
        prepare_cpu()
    dtype = weights_dtype(precision, on_gpu=on_gpu)
    transformers_logging.disable_progress_bar()
    config = read_config(files)
    method = check_checkpoint(files.name, config, precision)
    try:
        model, loading = model_class(config).from_pretrained(
            files.location,
            revision=files.commit,
            dtype=dtype,
            attn_implementation=attention_implementation(config),
            output_loading_info=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are named, and refused, below
            **_quantisation(precision),
            **dequantisation(method),
            **_places(config, device, precision, gpus, is_dequantised=method is not None),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if is_out_of_memory(error):  # of weights that are placed while they are read
            raise
        raise hub_error("base", files.name, files.location, error) from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = sorted(loading[kind])
        if kind == "unexpected_keys":
            wrong = [each for each in wrong if not is_of_a_tower(each, config, model)]
        if wrong:
            raise ValueError(f"base {files.name!r}: weights do not fit the config, {kind}: {wrong[:3]}")
    model.requires_grad_(False)
    model.config.use_cache = False
    if precision == "4bit":
        _keep_packing(model)
    return (model if hasattr(model, "hf_device_map") else model.to(device)).eval()


def _keep_packing(model: nn.Module) -> None:
    """Keep 4-bit weights as they are quantised.

    On CPUs with AVX512-BF16 bitsandbytes packs them anew in the first forward, which widths that are no
    multiple of a block do not bear, and which a backward does not read.
    """
    linear: Any
    for linear in model.modules():
        if hasattr(linear, "support_avx512bf16_for_cpu"):
            linear.support_avx512bf16_for_cpu = False


QUANTISED_BYTES: dict[Precision, float] = {"8bit": 1.0, "4bit": 0.55}
"""Bytes per number of a linear in a decoder layer; embeddings, head and experts are not quantised."""


def divide(model: nn.Module, count: int, precision: Precision, dtype: torch.dtype) -> dict[str, int]:
    """The GPU, 0-based, of each part of the model by its path: a `device_map` of transformers.

    The fullest GPU has as few bytes of weights as can be. What stands before the layers is on the first, with
    a head that is tied to it, what stands after them on the last. Only names and shapes are read: a model on
    the meta device will do. ValueError where there are fewer layers than GPUs, or layers share weights.
    """
    path = find_layer_path(model)
    layers = model.get_submodule(path)
    assert isinstance(layers, nn.ModuleList)
    if count > len(layers):
        raise ValueError(f"{len(layers)} layers cannot be divided over {count} GPUs")
    held = [id(parameter) for layer in layers for parameter in layer.parameters()]
    if len(set(held)) < len(held):
        raise ValueError("its layers share weights, so they cannot be divided over GPUs")
    places: dict[str, int] = {}
    ends = [0.0, 0.0]
    for name, numbers, follows in _around(model, path):
        is_last = follows and numbers > 0
        places[name] = count - 1 if is_last else 0
        ends[is_last] += numbers * dtype.itemsize
    sizes = [layer_bytes(layer, precision, dtype) for layer in layers]
    for gpu, (start, end) in enumerate(pairwise(_starts(sizes, count, *ends))):
        places |= {f"{path}.{index}": gpu for index in range(start, end)}
    return places


def part_bytes(
    model: nn.Module, places: Mapping[str, int], precision: Precision, dtype: torch.dtype
) -> list[float]:
    """Bytes of weights on each GPU, where the parts of the model are in these places."""
    path = find_layer_path(model)
    found = [0.0] * (max(places.values()) + 1)
    for name, numbers, _ in _around(model, path):
        found[places[name]] += numbers * dtype.itemsize
    for name, layer in model.get_submodule(path).named_children():
        found[places[f"{path}.{name}"]] += layer_bytes(layer, precision, dtype)
    return found


def layer_bytes(layer: nn.Module, precision: Precision, dtype: torch.dtype) -> float:
    """Bytes of a decoder layer's weights."""
    linears = {
        id(each.weight): each.weight.numel()
        for each in layer.modules()
        if isinstance(each, nn.Linear | Conv1D)
    }
    others = sum(each.numel() for each in layer.parameters() if id(each) not in linears)
    return sum(linears.values()) * QUANTISED_BYTES.get(precision, dtype.itemsize) + others * dtype.itemsize


def _around(model: nn.Module, layer_path: str) -> Iterator[tuple[str, int, bool]]:
    """Everything but the decoder layers: path, how many numbers it has, and whether it follows the layers.

    Numbers of tied parts count for the first of them.
    """
    counted: set[int] = set()

    def count(tensors: Iterable[Tensor]) -> int:
        new = {id(each): each.numel() for each in tensors if id(each) not in counted}
        counted.update(new)
        return sum(new.values())

    for name, tensors, follows in _parts(model, layer_path.split(".")):
        yield name, count(tensors), follows


def _parts(
    module: nn.Module, path: Sequence[str], prefix: str = ""
) -> Iterator[tuple[str, Iterable[Tensor], bool]]:
    """What the module holds beside the submodule at `path`, in order."""
    if not path:
        return
    yield from (
        (f"{prefix}{name}", [weight], False) for name, weight in module.named_parameters(recurse=False)
    )
    yield from ((f"{prefix}{name}", [], False) for name, _ in module.named_buffers(recurse=False))
    follows = False
    for name, child in module.named_children():
        if name == path[0]:
            follows = True
            yield from _parts(child, path[1:], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child.parameters(), follows


def _starts(sizes: Sequence[float], count: int, before: float, after: float) -> list[int]:
    """The first layer of each GPU, and the number of layers."""
    low, high = 0.0, before + sum(sizes) + after
    best = _starts_within(high, sizes, count, before, after)
    while high - low > 1:
        limit = (low + high) / 2
        starts = _starts_within(limit, sizes, count, before, after)
        low, high, best = (limit, high, best) if starts is None else (low, limit, starts)
    assert best is not None, "one GPU that holds everything holds it"
    return best


def _starts_within(
    limit: float, sizes: Sequence[float], count: int, before: float, after: float
) -> list[int] | None:
    """The same where no GPU has more than `limit` bytes: the last ones are filled first, since the first has
    learners beside its weights. None where that cannot be.
    """
    starts, layer = [len(sizes)], len(sizes)
    for gpu in reversed(range(count)):
        room = limit - after * (gpu == count - 1) - before * (gpu == 0)
        if room < 0:
            return None
        least = gpu  # as many layers as there are GPUs before this one
        while layer > least and sizes[layer - 1] <= room:
            layer -= 1
            room -= sizes[layer]
        starts.append(layer)
    return starts[::-1] if layer == 0 else None


_MET = ("num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts")
"""Names by which configs say how many experts a token meets in a layer."""


def idle_params(layers: nn.Module, config: PretrainedConfig) -> int:
    """Parameters of routed experts that a token does not meet; 0 where the config says nothing of them."""
    met = next((count for name in _MET if (count := getattr(config, name, None)) is not None), None)
    if met is None:
        return 0
    experts = [module for module in layers.modules() if type(module).__name__.endswith("Experts")]
    stacked = [weight for module in experts for weight in module.parameters(recurse=False)]
    return sum(weight.numel() * max(0, len(weight) - met) // len(weight) for weight in stacked)
