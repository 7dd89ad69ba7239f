"""One LoRA trained on all tasks of a run together: the control of what a port shares between tasks."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.lora import TaskLoras, init_a, lora_generator
from portal.learners.optimiser import Optimiser, clip_global_norm
from portal.storage.checkpoint import below

ALL_TASKS = "all tasks"
"""Names the draw of its initial values, where a per-task LoRA has the task's name."""


class SharedLora(TaskLoras):
    """A single adapter that every slot uses. A step minimises the mean loss of a batch per trained task.

    Tasks that the run is not trained on are scored with the same adapter.
    """

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        assert run.seed is not None
        generator = lora_generator(run.seed, ALL_TASKS)
        self._pairs: Factors = {}
        self._parameters: list[nn.Parameter] = []
        for group in self._groups:
            a_LRI = init_a(group, self.adapter.rank, generator)
            b_LOR = torch.zeros(len(group.layers), group.d_out, self.adapter.rank)
            pair = nn.Parameter(a_LRI.to(self.device)), nn.Parameter(b_LOR.to(self.device))
            self._pairs[group] = pair
            self._parameters.extend(pair)
        self._optimiser = Optimiser([(self._parameters, self.train.lr)], self.train, self.num_steps)

    @property
    def num_trained_params(self) -> int:
        return sum(parameter.numel() for parameter in self._parameters)

    def factors(self, base: str) -> Factors:
        """The adapter once for every slot, without copies."""
        slots = len(self.tasks)
        return {
            group: (a.expand(slots, *a.shape), b.expand(slots, *b.shape))
            for group, (a, b) in self._pairs.items()
        }

    def loss_weights(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor:
        """The mean over the tasks that train."""
        return torch.full_like(loss_S, 1 / len(self.trained_tasks))

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        outputs = [factor for group in factors for factor in factors[group]]
        torch.autograd.backward(outputs, [gradient for group in factors for gradient in gradients[group]])

    def update(self, loss_K: Tensor) -> Tensor:
        norm = clip_global_norm(self._parameters, self.train.clip_norm)
        self.watch(loss_K, norm)
        self._optimiser.step(self.step, skip=self.broken)
        return norm[None]

    def drop_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        """Everything that trains: tasks share it."""
        return {str(index): parameter.data for index, parameter in enumerate(self._parameters)}

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"parameter/{index}": parameter.data for index, parameter in enumerate(self._parameters)}
        return tensors | {f"optimiser/{name}": value for name, value in self._optimiser.tensors().items()}

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        for index, parameter in enumerate(self._parameters):
            parameter.data.copy_(tensors[f"parameter/{index}"])
        self._optimiser.restore(below(tensors, "optimiser/"))
