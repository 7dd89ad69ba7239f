"""`StackedTasks`: learners of parameters that belong to one task each, all tasks stepped together.

Tasks with equally many steps share stacked parameters, slot dimension first, so that one optimiser call
serves them; AdamW is elementwise and every slot is clipped by its own norm, so each task trains as if it were
alone.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.learners.optimiser import Optimiser
from portal.storage.checkpoint import below
from portal.train_config import TrainConfig

RateGroup = tuple[list[nn.Parameter], float]
"""Parameters and their learning rate before its schedule."""


class TaskStack:
    """Parameters of tasks that take equally many steps, (S, ...) with a slot per task, and an optimiser.

    `groups` are parameters with their learning rate.
    """

    def __init__(
        self, tasks: Sequence[str], num_steps: int, groups: Sequence[RateGroup], train: TrainConfig
    ) -> None:
        self.tasks, self.num_steps = tuple(tasks), num_steps
        self.parameters = [parameter for parameters, _ in groups for parameter in parameters]
        self.optimiser = Optimiser(list(groups), train, num_steps)

    def clip(self, limit: float) -> Tensor:
        """Scale every slot's gradient to a norm of at most `limit`, as clip_grad_norm_ does for one.

        Returns the norms before, (S,).
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters), "no gradient reached some parameters"
        squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
        norm_S = squares.sum(0).sqrt()
        scale_S = (limit / (norm_S + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale_S.view(-1, *[1] * (gradient.ndim - 1)))
        return norm_S

    def drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


class StackedTasks(Learner):
    """Slots go by falling number of steps, then as the config names tasks."""

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        self.tasks = tuple(sorted(self.tasks, key=lambda task: -self.schedule.task_steps(task)))
        by_steps: dict[int, list[str]] = {}
        for task in self.tasks:
            by_steps.setdefault(self.schedule.task_steps(task), []).append(task)
        self.stacks = [
            TaskStack(tasks, steps, self.fresh_parameters(tasks), self.train)
            for steps, tasks in by_steps.items()
        ]

    @abstractmethod
    def fresh_parameters(self, tasks: Sequence[str]) -> list[RateGroup]:
        """What trains of these tasks at the start, each (S, ...), on the learner's device."""

    @property
    def num_trained_params(self) -> int:
        return sum(parameter.numel() for stack in self.stacks for parameter in stack.parameters)

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        outputs = [factor for group in factors for factor in factors[group]]
        torch.autograd.backward(outputs, [gradient for group in factors for gradient in gradients[group]])

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        """The slots of these tasks in the stacked parameters."""
        wanted = set(tasks)
        return {
            f"{task}/{index}": parameter.data[slot]
            for stack in self.stacks
            for slot, task in enumerate(stack.tasks)
            if task in wanted
            for index, parameter in enumerate(stack.parameters)
        }

    def update(self, loss_K: Tensor) -> Tensor:
        training = [stack for stack in self.stacks if self.step < stack.num_steps]
        for stack in self.stacks:
            if stack not in training:
                stack.drop_gradients()
        norm_S = torch.cat([stack.clip(self.train.clip_norm) for stack in training])
        self.watch(loss_K, norm_S)
        for stack in training:
            stack.optimiser.step(self.step, skip=self.broken)
        return norm_S

    def drop_gradients(self) -> None:
        for stack in self.stacks:
            stack.drop_gradients()

    def tensors(self) -> dict[str, Tensor]:
        tensors = {}
        for number, stack in enumerate(self.stacks):
            for index, parameter in enumerate(stack.parameters):
                tensors[f"{number}/parameter/{index}"] = parameter.data
            for name, value in stack.optimiser.tensors().items():
                tensors[f"{number}/optimiser/{name}"] = value
        return tensors

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        for number, stack in enumerate(self.stacks):
            for index, parameter in enumerate(stack.parameters):
                parameter.data.copy_(tensors[f"{number}/parameter/{index}"])
            stack.optimiser.restore(below(tensors, f"{number}/optimiser/"))
