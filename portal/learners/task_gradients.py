"""Gradients of what tasks share: their sum at equal norms, and how far they agree.

Shape letters: T tasks, P shared parameters. `own[t]` are task t's gradients of all shared parameters.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def equalized_sum(own: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """sum_t w_t g_t of every shared parameter, w_t = mean |g| / |g_t|; tasks without a gradient are left out.

    A gradient that is not finite gives weights that are not.
    """
    norm_T = torch.stack([torch.stack([part.norm() for part in gradient]).norm() for gradient in own])
    mean = norm_T.sum() / (norm_T > 0).sum().clamp(min=1)
    weight_T = torch.where(norm_T == 0, 0.0, mean / norm_T)  # a NaN stays one, for `update` to see
    return [torch.einsum("t...,t->...", torch.stack(parts), weight_T) for parts in zip(*own, strict=True)]


def task_cosines(own: Sequence[Sequence[Tensor]]) -> Tensor:
    """The cosine of every two tasks' gradients of what they share, (T, T); NaN for a gradient of zero."""
    gramian_TT = _gramian(own)
    norm_T = gramian_TT.diagonal().sqrt()
    return gramian_TT / (norm_T[:, None] * norm_T[None])


def _gramian(own: Sequence[Sequence[Tensor]]) -> Tensor:
    """g_s . g_t of every two tasks, (T, T), summed over parameters one after another."""
    total_TT = own[0][0].new_zeros(len(own), len(own))
    for parts in zip(*own, strict=True):
        jacobian_TP = torch.stack([part.flatten() for part in parts])
        total_TT = total_TT + jacobian_TP @ jacobian_TP.T
    return total_TT
