"""`NearestLatents`: a new task with the latent of the source's task that fits its rows best."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.learners.new_tasks import NewTasks

MOST_ROWS = 16
"""Rows of a task that are compared: more take time."""
_AT_ONCE = 8
"""Tasks whose rows share a forward."""


def nearest_tasks(artifact: Artifact, base: Base, rows: Mapping[str, Sequence[TokenRow]]) -> dict[str, str]:
    """For every task of `rows`, the calibrated task of the artifact with the least loss on them.

    The loss is the one that is trained on: the mean NLL of gold answers' tokens. Of equal ones the first
    counts.
    """
    slots = [SlotRows(0, 0, tuple(own)) for own in rows.values()]
    known = artifact.known_tasks
    loss_KS = torch.stack([_losses(artifact, base, task, slots) for task in known])
    return {task: known[place] for task, place in zip(rows, loss_KS.argmin(0).tolist(), strict=True)}


def _losses(artifact: Artifact, base: Base, task: str, slots: Sequence[SlotRows]) -> Tensor:
    """The losses of some rows, (S,), with the adapter of `task`, so many of them in a forward as fit."""
    with artifact.applied(base, task), torch.inference_mode():
        parts = [
            slot_losses(base, slots[start : start + _AT_ONCE]) for start in range(0, len(slots), _AT_ONCE)
        ]
    return torch.cat(parts)


class NearestLatents(NewTasks):
    """A control of taught latents: chosen on the same rows, nothing is trained."""

    nearest: dict[str, str]
    """By task that of the source whose latent it has."""

    def _new_latents(self, artifact: Artifact) -> dict[str, Tensor]:
        rows = self.data.first_rows(self._base.name, MOST_ROWS)
        self.nearest = nearest_tasks(artifact, self._base, rows)
        return {task: artifact.latents[self.nearest[task]] for task in self.tasks}
