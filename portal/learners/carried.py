"""`CarriedLatents`: latents taught on one base, on another whose port saw no row of their tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from portal.artifacts.artifact import Artifact
from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_task_adapters
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.forward.adapter_hooks import select_slots
from portal.hypernet import Factors
from portal.learners.base import Start
from portal.learners.fixed import FixedLearner, next_tasks


class CarriedLatents(FixedLearner):
    """Every slot has the adapter that the port generates from the latent of its task in `taught`."""

    def __init__(
        self,
        run: RunConfig,
        bases: dict[str, Base],
        rows: dict[str, RowTable],
        port: Artifact,
        taught: Artifact,
    ) -> None:
        super().__init__(run, bases, rows)
        port.check_base(self._base)
        carried, lenders = port.with_latents_of(taught), self._lenders(self.tasks)
        factors = carried.factors(tuple(lenders))
        self._factors = {group: (a.to(self.device), b.to(self.device)) for group, (a, b) in factors.items()}

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> Self:
        assert start is not None, "it starts from a port"
        assert start.latents is not None, "it starts from taught latents"
        return cls(run, bases, rows, Artifact.load(start.folder), Artifact.load(start.latents))

    def _lenders(self, tasks: Sequence[str]) -> Sequence[str]:
        """For every task the one whose latent it has."""
        return tasks

    def factors(self, base: str) -> Factors:
        return self._factors

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write one PEFT adapter per task, in `folder/<task>`."""
        factors = {task: select_slots(self._factors, [slot]) for slot, task in enumerate(self.tasks)}
        save_task_adapters(folder, factors, base=self._base, adapter=self.adapter, record=record)


class MismatchedLatents(CarriedLatents):
    """Every task has the latent of the next one in the config's order, the last that of the first."""

    def _lenders(self, tasks: Sequence[str]) -> Sequence[str]:
        return next_tasks(tasks, self.run.method)
