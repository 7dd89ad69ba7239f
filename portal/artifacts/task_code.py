"""`TaskCode`: all that a core takes of a task: its latent and, where it has one, a residual.

Shape letters: T tasks, q residual rank, c core width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from portal.hypernet import Residual


@dataclass(frozen=True)
class TaskCode:
    """A latent, (d_z,), and by module the residual's A (q, c) and B (c, q); none for most tasks."""

    latent: Tensor
    residual: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def residual_rank(self) -> int:
        """q, 0 without a residual."""
        return next((len(a_QC) for a_QC, _ in self.residual.values()), 0)

    def tensors(self) -> list[Tensor]:
        """The latent, then A and B of each module of the residual, by the modules' names."""
        return [
            self.latent,
            *(tensor for module in sorted(self.residual) for tensor in self.residual[module]),
        ]

    def trimmed(self) -> "TaskCode":
        """The same without the last components of the residual that are zero: what stacking has added."""
        used = [index + 1 for index in range(self.residual_rank) if self._has(index)]
        rank = max(used, default=0)
        if rank == self.residual_rank:
            return self
        cut = {module: (a_QC[:rank], b_CQ[:, :rank]) for module, (a_QC, b_CQ) in self.residual.items()}
        return TaskCode(self.latent, cut if rank else {})

    def _has(self, index: int) -> bool:
        """Whether a component of the residual is anything in any module."""
        return any(bool(a[index].any()) or bool(b[:, index].any()) for a, b in self.residual.values())

    def equals(self, other: "TaskCode") -> bool:
        """Whether both are the same to the last bit."""
        mine, others = self.tensors(), other.tensors()
        return self.residual.keys() == other.residual.keys() and all(map(torch.equal, mine, others))

    def cpu(self) -> "TaskCode":
        """The same on the CPU, without a graph."""
        residual = {module: (a.detach().cpu(), b.detach().cpu()) for module, (a, b) in self.residual.items()}
        return TaskCode(self.latent.detach().cpu(), residual)


def split_codes(tasks: Sequence[str], latent_TZ: Tensor, residual: Residual | None) -> dict[str, TaskCode]:
    """The codes of tasks whose latents, and residuals if there are any, are stacked in this order."""
    pairs = (residual or {}).items()
    return {
        task: TaskCode(latent, {module: (a_TQC[slot], b_TCQ[slot]) for module, (a_TQC, b_TCQ) in pairs})
        for slot, (task, latent) in enumerate(zip(tasks, latent_TZ, strict=True))
    }


def stack_residuals(codes: Sequence[TaskCode], device: torch.device | None = None) -> Residual | None:
    """The residuals of some tasks as one, of the largest rank among them; None where no task has one.

    What a task lacks of that rank is zero, and a zero in A and B adds nothing.
    """
    rank = max((code.residual_rank for code in codes), default=0)
    if rank == 0:
        return None
    shapes = {module: a.shape[1] for code in codes for module, (a, _) in code.residual.items()}
    stacked: dict[str, tuple[Tensor, Tensor]] = {}
    for module, width in shapes.items():
        a_TQC = torch.zeros(len(codes), rank, width, device=device)
        b_TCQ = torch.zeros(len(codes), width, rank, device=device)
        for task, code in enumerate(codes):
            if module in code.residual:
                a_QC, b_CQ = code.residual[module]
                a_TQC[task, : len(a_QC)] = a_QC
                b_TCQ[task, :, : len(a_QC)] = b_CQ
        stacked[module] = (a_TQC, b_TCQ)
    return stacked


def residual_keys(codes: Mapping[str, TaskCode]) -> dict[str, Any]:
    """What an artifact's config says of the residuals of its tasks."""
    rank = max((code.residual_rank for code in codes.values()), default=0)
    having = tuple(task for task, code in codes.items() if code.residual)
    return {"residual_rank": rank, "residual_tasks": having}


def code_tensors(codes: Mapping[str, TaskCode]) -> dict[str, Tensor]:
    """The codes of an artifact's tasks as its tensors: `task_latents`, and `residual.A.MODULE` and B."""
    stacked = stack_residuals([code for code in codes.values() if code.residual]) or {}
    return {
        "task_latents": torch.stack([code.latent for code in codes.values()]),
        **{f"residual.A.{module}": a_TQC for module, (a_TQC, _) in stacked.items()},
        **{f"residual.B.{module}": b_TCQ for module, (_, b_TCQ) in stacked.items()},
    }
