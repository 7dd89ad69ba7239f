"""Learners that take no step: the frozen base, and adapters that come ready-made (Cross-LoRA, controls)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_task_adapters
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Learner, Start
from portal.learners.transfer import Transferred, transfer_loras
from portal.storage.atomic import write_json_atomic

TRANSFER_RECORD = "transfer.json"


class FixedLearner(Learner):
    """Takes no step and is scored once, at epoch 0."""

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        (self._base,) = self.bases.values()

    @property
    def num_trained_params(self) -> int:
        return 0

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

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        return {}


def next_tasks(tasks: Sequence[str], method: str) -> Sequence[str]:
    """For every task the next one, for the last the first: whose place a mismatched one takes.

    ValueError, which names the method, for a single task.
    """
    if len(tasks) < 2:
        raise ValueError(f"method {method!r} exchanges what belongs to tasks; the run has one task")
    return [*tasks[1:], tasks[0]]


class FrozenBase(FixedLearner):
    """The base as it is, without adapters: it leaves no artifact."""

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "FrozenBase":
        return cls(run, bases, rows)

    def restore_kept(self) -> dict[str, int]:
        return {}

    def factors(self, base: str) -> Factors:
        return {}

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Writes nothing."""


class TransferredLoras(FixedLearner):
    """Adapters carried over from another base, or one of the controls beside them."""

    def __init__(
        self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], transferred: Transferred
    ) -> None:
        super().__init__(run, bases, rows)
        self._transferred = transferred

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "TransferredLoras":
        return cls(run, bases, rows, transfer_loras(run, bases[run.bases[0].name], start))

    def norm_ratio(self, task: str) -> float | None:
        return self._transferred.mean_norm_ratio(task)

    def factors(self, base: str) -> Factors:
        return self._transferred.factors

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """One PEFT adapter per task, and the transfer's norm ratios."""
        factors = {task: self._transferred.of_task(task) for task in self.tasks}
        save_task_adapters(folder, factors, base=self._base, adapter=self.adapter, record=record)
        write_json_atomic(folder / TRANSFER_RECORD, self._transferred.to_json())
