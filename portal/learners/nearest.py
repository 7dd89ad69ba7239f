"""`NearestLatents`: a new task with the latent of the source's task that fits its rows best."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_writer import save_more_tasks
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable, TokenRow
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.fixed import FixedLearner

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
    known = artifact.calibrated or artifact.config.tasks
    loss_KS = torch.stack([_losses(artifact, base, task, slots) for task in known])
    return {task: known[place] for task, place in zip(rows, loss_KS.argmin(0).tolist(), strict=True)}


def _losses(artifact: Artifact, base: Base, task: str, slots: Sequence[SlotRows]) -> Tensor:
    """The losses of some rows, (S,), with the adapter of `task`, so many of them in a forward as fit."""
    with artifact.applied(base, task), torch.inference_mode():
        parts = [
            slot_losses(base, slots[start : start + _AT_ONCE]) for start in range(0, len(slots), _AT_ONCE)
        ]
    return torch.cat(parts)


class NearestLatents(FixedLearner):
    """A control of taught latents: chosen on the same rows, nothing is trained."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], artifact: Artifact
    ) -> None:
        super().__init__(run, bases, rows)
        artifact.check_base(self._base)
        self._artifact = artifact
        self.nearest = nearest_tasks(artifact, self._base, self.data.first_rows(self._base.name, MOST_ROWS))

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "NearestLatents":
        assert start is not None, "it starts from a source"
        return cls(run, bases, rows, Artifact.load(start.folder))

    def factors(self, base: str) -> Factors:
        factors = self._artifact.factors(tuple(self.nearest[task] for task in self.tasks))
        return {group: (a.to(self.device), b.to(self.device)) for group, (a, b) in factors.items()}

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write the artifact with its old tasks, bit for bit, and the new ones after them."""
        codes = {task: self._artifact.codes[self.nearest[task]] for task in self.tasks}
        save_more_tasks(folder, self._artifact, codes, base=self._base, record=record)
