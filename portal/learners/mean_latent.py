"""`MeanLatent`: a port's converter with one latent for all tasks, a control of what their own latents add."""

from pathlib import Path

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_task_adapters
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.fixed import FixedLearner


class MeanLatent(FixedLearner):
    """Every slot has the adapter that the port generates from the mean latent of its calibrated tasks."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], port: Artifact
    ) -> None:
        super().__init__(run, bases, rows)
        port.check_base(self._base)
        self._factors = {
            group: (a.to(self.device), b.to(self.device)) for group, (a, b) in port.mean_factors().items()
        }

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "MeanLatent":
        assert start is not None, "it starts from a port"
        return cls(run, bases, rows, Artifact.load(start.folder))

    def factors(self, base: str) -> Factors:
        """The one adapter once for every slot, without copies."""
        slots = len(self.tasks)
        return {
            group: (a.expand(slots, *a.shape[1:]), b.expand(slots, *b.shape[1:]))
            for group, (a, b) in self._factors.items()
        }

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write one PEFT adapter per task, in `folder/<task>`; all have the same factors."""
        factors = dict.fromkeys(self.tasks, self._factors)
        save_task_adapters(folder, factors, base=self._base, adapter=self.adapter, record=record)
