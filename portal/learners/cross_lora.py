"""Cross-LoRA: a trained LoRA carried to another base through the singular vectors of both bases' weights.

No data and no refit (docs/method.md, "Baselines and controls"). Shape letters: r LoRA rank, R kept singular
vectors, I input width, O output width; lower-case s and t in names: source and target base.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from portal.config import TransferMode

RANK_LIMIT = 320
"""Singular vectors kept of a matrix at most."""


@dataclass(frozen=True)
class Basis:
    """Leading singular vectors of one weight matrix: `u_OR` of its outputs, `v_IR` of its inputs, fp32."""

    u_OR: Tensor
    v_IR: Tensor

    @property
    def rank(self) -> int:
        return self.u_OR.shape[1]


def weight_basis(weight_OI: Tensor) -> Basis:
    """The leading RANK_LIMIT singular vectors of a weight, fp32, by falling singular value.

    Signs are fixed, since an SVD leaves them open and the transfer depends on them: the entry of largest
    magnitude in each u is positive, and v is flipped with it.
    """
    u_OK, _, v_KI = torch.linalg.svd(weight_OI.float(), full_matrices=False)
    u_OR, v_IR = u_OK[:, :RANK_LIMIT], v_KI[:RANK_LIMIT].T
    largest_R = u_OR.abs().argmax(0)
    sign_R = torch.where(u_OR.gather(0, largest_R[None])[0] < 0, -1.0, 1.0)
    return Basis((u_OR * sign_R).contiguous(), (v_IR * sign_R).contiguous())


def transfer(
    a_RI: Tensor, b_OR: Tensor, *, source: Basis, target: Basis, mode: TransferMode
) -> tuple[Tensor, Tensor]:
    """LoRA factors (r, I_t) and (O_t, r) on the target, of factors trained on the source.

    `coordinate`: B_t = U_t (U_s^T B_s), A_t = (A_s V_s) V_t^T, for any widths; `project`: B_t = U_t U_t^T
    B_s, A_t = A_s V_t V_t^T, ValueError unless the widths are equal. Both keep min(R_s, R_t) vectors.
    """
    kept = min(source.rank, target.rank)
    u_t, v_t = target.u_OR[:, :kept], target.v_IR[:, :kept]
    if mode == "project":
        if (a_RI.shape[1], b_OR.shape[0]) != (len(v_t), len(u_t)):
            raise ValueError(
                f"mode 'project' needs equal widths, got {b_OR.shape[0]} x {a_RI.shape[1]} on the source and "
                f"{len(u_t)} x {len(v_t)} on the target; use mode 'coordinate'"
            )
        return a_RI @ v_t @ v_t.T, u_t @ (u_t.T @ b_OR)
    u_s, v_s = source.u_OR[:, :kept], source.v_IR[:, :kept]
    return a_RI @ v_s @ v_t.T, u_t @ (u_s.T @ b_OR)


def source_layer(layer: int, *, num_source: int, num_target: int) -> int:
    """The source layer for a target layer: the same where the depths agree, else at the same relative depth.

    l_s = round(l_t (L_s - 1) / (L_t - 1)); a target of one layer takes the first.
    """
    if num_source == num_target:
        return layer
    return round(layer * (num_source - 1) / max(1, num_target - 1))


def update_norm(a_RI: Tensor, b_OR: Tensor) -> float:
    """Frobenius norm of B A, without forming it: the root of sum((B^T B) * (A A^T))."""
    return ((b_OR.T @ b_OR) * (a_RI @ a_RI.T)).sum().clamp(min=0).sqrt().item()
