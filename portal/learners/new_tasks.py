"""`NewTasks`: new tasks of an artifact at latents that nothing trains."""

from abc import abstractmethod
from pathlib import Path
from typing import Self

from torch import Tensor

from portal.artifacts.artifact import Artifact, save_more_tasks
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.fixed import FixedLearner


class NewTasks(FixedLearner):
    """`latents` are by task; core and converter are those of the artifact, which is for the run's base."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], artifact: Artifact
    ) -> None:
        super().__init__(run, bases, rows)
        artifact.check_base(self._base)
        self._artifact, self._source = artifact, artifact.as_source()
        self.latents = self._new_latents(artifact)

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> Self:
        assert start is not None, "it starts from a source"
        return cls(run, bases, rows, Artifact.load(start.folder))

    @abstractmethod
    def _new_latents(self, artifact: Artifact) -> dict[str, Tensor]:
        """That of every task of the run."""

    def factors(self, base: str) -> Factors:
        factors = self._artifact.with_tasks(self.latents).factors(self.tasks)
        return {group: (a.to(self.device), b.to(self.device)) for group, (a, b) in factors.items()}

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write the artifact with its old tasks, bit for bit, and the new ones after them."""
        save_more_tasks(
            folder, self._artifact, self.latents, source=self._source, base=self._base, record=record
        )
