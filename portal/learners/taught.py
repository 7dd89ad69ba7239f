"""`TaughtLatents`: latents of new tasks, fitted on one base with core and converter held."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_writer import TrainedHypernet, save_artifact
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.task_stacks import StackedTasks


class TaughtLatents(StackedTasks):
    """Every task's latent starts at the mean of those that the artifact's converter was trained with."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], artifact: Artifact
    ) -> None:
        (self._base,) = (bases[ref.name] for ref in run.bases)
        artifact.check_base(self._base)
        assert run.adapter is not None
        assert run.hypernet is not None
        self._artifact = artifact
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

    @property
    def rate(self) -> float:
        return self.train.lr_latent

    def fresh_parameters(self, tasks: Sequence[str]) -> list[nn.Parameter]:
        """The latents, (S, d_z)."""
        return [nn.Parameter(self._artifact.mean_latent.repeat(len(tasks), 1).to(self.device))]

    @property
    def latents(self) -> Tensor:
        """Of all slots, (T, d_z)."""
        return torch.cat([stack.parameters[0] for stack in self.stacks])

    def trained_latents(self) -> dict[str, Tensor]:
        return dict(zip(self.tasks, self.latents.detach(), strict=True))

    def factors(self, base: str) -> Factors:
        return self._converter(self._core, self.latents)

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write the artifact with its old tasks, bit for bit, and the new ones after them."""
        artifact, taught = self._artifact, self.trained_latents()
        assert self.run.hypernet is not None
        latents = artifact.latents | {task: taught[task].cpu() for task in self.run.data.tasks}
        trained = TrainedHypernet(
            tuple(latents),
            self.adapter,
            self.run.hypernet,
            torch.stack(list(latents.values())),
            self._core,
            self._converter,
            calibrated=artifact.calibrated,
            source=artifact.as_source(),
        )
        save_artifact(folder, base=self._base, trained=trained, record=record)
