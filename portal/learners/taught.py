"""`TaughtLatents`: latents of new tasks, fitted on one base with core and converter held."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from portal.artifacts.artifact import Artifact, save_more_tasks
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.nearest import MOST_ROWS, nearest_tasks
from portal.learners.task_stacks import RateGroup, StackedTasks


class TaughtLatents(StackedTasks):
    """Latents start at the mean of those that the converter was trained with, or each at one of them or at
    what its task's description stands for.
    """

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], artifact: Artifact
    ) -> None:
        (self._base,) = (bases[ref.name] for ref in run.bases)
        artifact.check_base(self._base)
        assert run.adapter is not None
        assert run.hypernet is not None
        self._artifact, self._source = artifact, artifact.as_source()
        _, core = artifact.frozen_core((), run.adapter, run.hypernet)
        self._core = core.to(self._base.device).requires_grad_(False)
        self._converter = artifact.converter().to(self._base.device).requires_grad_(False)
        super().__init__(run, bases, rows)

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "TaughtLatents":
        assert start is not None, "new tasks are taught to an artifact"
        return cls(run, bases, rows, Artifact.load(start.folder))

    def fresh_parameters(self, tasks: Sequence[str]) -> list[RateGroup]:
        """The latents, (S, d_z)."""
        artifact = self._artifact
        match self.train.latent_start:
            case "mean":
                starts = [artifact.mean_latent] * len(tasks)
            case "nearest":
                rows = self.data.first_rows(self._base.name, MOST_ROWS)
                nearest = nearest_tasks(artifact, self._base, {task: rows[task] for task in tasks})
                starts = [artifact.latents[nearest[task]] for task in tasks]
            case "description":
                described = artifact.described_latents(
                    {task: self.run.data.descriptions[task] for task in tasks}
                )
                starts = [described[task] for task in tasks]
        return [([nn.Parameter(torch.stack(starts).to(self.device))], self.train.lr_latent)]

    @property
    def latents(self) -> Tensor:
        """Of all slots, (T, d_z)."""
        return torch.cat([latents for stack in self.stacks for latents in stack.parameters])

    def trained_latents(self) -> dict[str, Tensor]:
        return dict(zip(self.tasks, self.latents.detach(), strict=True))

    def factors(self, base: str) -> Factors:
        return self._converter(self._core, self.latents)

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write the artifact with its old tasks, bit for bit, and the new ones after them."""
        latents = dict(zip(self.tasks, self.latents, strict=True))
        in_order = {task: latents[task] for task in self.run.data.tasks}
        save_more_tasks(folder, self._artifact, in_order, source=self._source, base=self._base, record=record)
