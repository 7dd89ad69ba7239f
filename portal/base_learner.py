"""The frozen base as a learner that takes no step: it owes one evaluation."""

from pathlib import Path
from typing import Any

from torch import Tensor

from portal.hypernet import Factors
from portal.learner import Learner


class BaseLearner(Learner):
    """Method `base`: scored once, at epoch 0, without adapters."""

    @property
    def num_trained_params(self) -> int:
        return 0

    def rounds_per_epoch(self, task: str) -> int:
        return 1

    def task_steps(self, task: str) -> int:
        return 0

    def owed(self) -> list[tuple[str, int]]:
        return [(task, 0) for task in self.tasks if (task, 0) not in self.scored]

    def factors(self, base: str) -> Factors:
        return {}

    def objective(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor:
        raise AssertionError("the frozen base takes no step")

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        raise AssertionError("the frozen base takes no step")

    def update(self) -> None:
        raise AssertionError("the frozen base takes no step")

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        assert not tensors, "a frozen base has no state"

    def save_artifact(self, folder: Path) -> None:
        """Nothing to write: the run's result is its scores."""
