"""Weights of tasks whose gradients of shared parameters pull in different directions.

Shape letters: T tasks, P shared parameters.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from portal.train_config import TaskGradients

_WEIGHTINGS = {
    "upgrad": "UPGradWeighting",
    "pcgrad": "PCGradWeighting",
    "aligned_mtl": "AlignedMTLWeighting",
    "imtl_g": "IMTLGWeighting",
}
_SUMMED = ("pcgrad",)
"""Weightings that give a weight of about 1 to each task; those of the others add up to about 1."""
_OF_NONZERO = ("imtl_g",)
"""Of these, weightings that have nothing for a task whose gradient is zero: one that gave no rows, say."""


def combine_gradients(own: Sequence[Sequence[Tensor]], kind: TaskGradients, seed: int) -> list[Tensor]:
    """sum_t w_t g_t for every shared parameter; `own[t]` are task t's gradients of all of them.

    `norm_equalized` has w_t = mean |g| / |g_t|, tasks without a gradient left out. The others are the
    weightings of the Gramian of the g_t that `torchjd` computes, scaled so that equal weights are 1. `seed`
    is that of the weighting's own draws. A gradient that is not finite gives weights that are not.
    """
    weight_T = _equalized(own) if kind == "norm_equalized" else _gramian_weights(own, kind, seed)
    return [torch.einsum("t...,t->...", torch.stack(parts), weight_T) for parts in zip(*own, strict=True)]


def check_task_gradients(kind: TaskGradients) -> None:
    """ValueError where what the weighting needs is not installed."""
    if kind in _WEIGHTINGS and (find_spec("torchjd") is None or find_spec("quadprog") is None):
        raise ValueError(f"task_gradients {kind!r} needs torchjd: pip install 'portal-sweeps[weightings]'")


def task_cosines(own: Sequence[Sequence[Tensor]]) -> Tensor:
    """The cosine of every two tasks' gradients of what they share, (T, T); NaN for a gradient of zero."""
    gramian_TT = _gramian(own)
    norm_T = gramian_TT.diagonal().sqrt()
    return gramian_TT / (norm_T[:, None] * norm_T[None])


def _equalized(own: Sequence[Sequence[Tensor]]) -> Tensor:
    norms = [torch.stack([part.norm() for part in gradient]).norm() for gradient in own]
    norm_T = torch.stack(norms)
    mean = norm_T.sum() / (norm_T > 0).sum().clamp(min=1)
    return torch.where(norm_T == 0, 0.0, mean / norm_T)  # a NaN stays one, for `update` to see


def _gramian_weights(own: Sequence[Sequence[Tensor]], kind: TaskGradients, seed: int) -> Tensor:
    gramian_TT = _gramian(own)
    if not torch.isfinite(gramian_TT).all():
        return torch.full_like(gramian_TT[0], torch.nan)
    weighting: Callable[[Tensor], Tensor] = getattr(import_module("torchjd.aggregation"), _WEIGHTINGS[kind])()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weight_T = weighting(gramian_TT)
    if kind in _SUMMED:
        return weight_T
    counted = int((gramian_TT.diagonal() > 0).sum()) if kind in _OF_NONZERO else len(own)
    return counted * weight_T


def _gramian(own: Sequence[Sequence[Tensor]]) -> Tensor:
    """g_s . g_t of every two tasks, (T, T), summed over parameters one after another."""
    total_TT = own[0][0].new_zeros(len(own), len(own))
    for parts in zip(*own, strict=True):
        jacobian_TP = torch.stack([part.flatten() for part in parts])
        total_TT = total_TT + jacobian_TP @ jacobian_TP.T
    return total_TT
