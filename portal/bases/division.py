"""A base divided over GPUs: its decoder layers stay whole and in order, and GPUs compute in turns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from portal.bases.sites import find_layer_path
from portal.config import Precision

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
