"""Learners that take no step: the frozen base, and adapters that come ready-made (Cross-LoRA, controls)."""

from pathlib import Path
from typing import Any

from torch import Tensor

from portal.artifacts.model_card import record_for
from portal.artifacts.peft_adapter import save_peft_adapter
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.learners.transfer import Transferred
from portal.storage.atomic import write_json_atomic

TRANSFER_RECORD = "transfer.json"


class FixedLearner(Learner):
    """Scored once, at epoch 0; `transferred` is None for the frozen base, which has no adapters."""

    def __init__(
        self,
        run: RunConfig,
        bases: dict[str, Base],
        rows: dict[str, RowTable],
        *,
        transferred: Transferred | None,
    ) -> None:
        super().__init__(run, bases, rows)
        self._transferred = transferred
        (self._base,) = self.bases.values()

    @property
    def num_trained_params(self) -> int:
        return 0

    def rounds_per_epoch(self, task: str) -> int:
        return 1

    def task_steps(self, task: str) -> int:
        return 0

    def owed(self) -> list[tuple[str, int]]:
        return [(task, 0) for task in self.tasks if (task, 0) not in self.scored]

    def norm_ratio(self, task: str) -> float | None:
        return None if self._transferred is None else self._transferred.mean_norm_ratio(task)

    def factors(self, base: str) -> Factors:
        return {} if self._transferred is None else self._transferred.factors

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        raise AssertionError("fixed adapters take no step")

    def update(self, loss_K: Tensor) -> Tensor:
        raise AssertionError("fixed adapters take no step")

    def drop_gradients(self) -> None:
        """There are none."""

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        assert not tensors, "fixed adapters have no state"

    def save_artifact(self, folder: Path) -> None:
        """One PEFT adapter a task and the transfer's norm ratios; nothing for the frozen base."""
        if self._transferred is None:
            return
        assert self.run.adapter is not None
        record = record_for(folder, self.run)
        for task in self.tasks:
            save_peft_adapter(
                folder / task,
                base=self._base,
                adapter=self.run.adapter,
                factors=self._transferred.of_task(task),
                task=task,
                record=record,
            )
        write_json_atomic(folder / TRANSFER_RECORD, self._transferred.to_json())
