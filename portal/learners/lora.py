"""Per-task LoRA: one independent adapter per task, all of them stepped together.

Tasks with equally many steps share stacked parameters, slot dimension first, so that one optimiser call
serves them; AdamW is elementwise and every slot is clipped by its own norm, so each adapter trains as if it
were alone.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from portal.artifacts.peft_adapter import save_task_adapters
from portal.artifacts.run_record import RunRecord
from portal.bases.base import Base
from portal.bases.sites import SiteGroup, group_sites
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.forward.adapter_hooks import concatenate_slots
from portal.hypernet import Factors
from portal.learners.base import Learner, Start, named_generator
from portal.learners.optimiser import Optimiser
from portal.storage.checkpoint import below


class TaskLoras(Learner):
    """Common part of all ways to train per-task LoRAs: one base, one adapter and own epochs per task."""

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        (self._base,) = self.bases.values()
        self._groups = group_sites(self._base.sites, self.adapter.modules)

    @classmethod
    def build(
        cls, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], start: Start | None
    ) -> "TaskLoras":
        return cls(run, bases, rows)

    def norm_names(self, count: int) -> list[str]:
        return [f"the gradient's norm of task {task!r}" for task in self.tasks[:count]]

    def task_factors(self, task: str) -> Factors:
        """The adapter of one task, slot dimension of size 1."""
        slot = self.tasks.index(task)
        factors = self.factors(self._base.name)
        return {group: (a[slot : slot + 1], b[slot : slot + 1]) for group, (a, b) in factors.items()}

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write one PEFT adapter per task, in `folder/<task>`."""
        with torch.no_grad():
            factors = {task: self.task_factors(task) for task in self.tasks}
            save_task_adapters(folder, factors, base=self._base, adapter=self.adapter, record=record)


class LoraLearner(TaskLoras):
    """The per-task LoRA baseline. Slots go by falling number of steps, then as the config names tasks."""

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        self.tasks = tuple(sorted(self.tasks, key=lambda task: -self.schedule.task_steps(task)))
        by_steps: dict[int, list[str]] = {}
        for task in self.tasks:
            by_steps.setdefault(self.schedule.task_steps(task), []).append(task)
        self._stacks = [
            _Stack(run, self._groups, tasks, steps, self._base.device) for steps, tasks in by_steps.items()
        ]

    @property
    def num_trained_params(self) -> int:
        return sum(parameter.numel() for stack in self._stacks for parameter in stack.parameters)

    def factors(self, base: str) -> Factors:
        return concatenate_slots([stack.factors for stack in self._stacks])

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        outputs = [factor for group in factors for factor in factors[group]]
        torch.autograd.backward(outputs, [gradient for group in factors for gradient in gradients[group]])

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        """The slots of these tasks in the stacked factors."""
        wanted = set(tasks)
        return {
            f"{task}/{index}": parameter.data[slot]
            for stack in self._stacks
            for slot, task in enumerate(stack.tasks)
            if task in wanted
            for index, parameter in enumerate(stack.parameters)
        }

    def update(self, loss_K: Tensor) -> Tensor:
        training = [stack for stack in self._stacks if self.step < stack.num_steps]
        for stack in self._stacks:
            if stack not in training:
                stack.drop_gradients()
        norm_S = torch.cat([stack.clip(self.train.clip_norm) for stack in training])
        self.watch(loss_K, norm_S)
        for stack in training:
            stack.optimiser.step(self.step, skip=self.broken)
        return norm_S

    def drop_gradients(self) -> None:
        for stack in self._stacks:
            stack.drop_gradients()

    def tensors(self) -> dict[str, Tensor]:
        tensors = {}
        for number, stack in enumerate(self._stacks):
            for index, parameter in enumerate(stack.parameters):
                tensors[f"{number}/parameter/{index}"] = parameter.data
            for name, value in stack.optimiser.tensors().items():
                tensors[f"{number}/optimiser/{name}"] = value
        return tensors

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        for number, stack in enumerate(self._stacks):
            for index, parameter in enumerate(stack.parameters):
                parameter.data.copy_(tensors[f"{number}/parameter/{index}"])
            stack.optimiser.restore(below(tensors, f"{number}/optimiser/"))


class _Stack:
    """Adapters of tasks that take equally many steps, as stacked parameters with one optimiser."""

    def __init__(
        self,
        run: RunConfig,
        groups: tuple[SiteGroup, ...],
        tasks: list[str],
        num_steps: int,
        device: torch.device,
    ) -> None:
        assert run.adapter is not None
        assert run.train is not None
        assert run.seed is not None
        self.tasks, self.num_steps = tasks, num_steps
        generators = [lora_generator(run.seed, task) for task in tasks]
        self.factors: Factors = {}
        self.parameters: list[nn.Parameter] = []
        for group in groups:
            a_SLRI = torch.stack([init_a(group, run.adapter.rank, generator) for generator in generators])
            b_SLOR = torch.zeros(len(tasks), len(group.layers), group.d_out, run.adapter.rank)
            pair = nn.Parameter(a_SLRI.to(device)), nn.Parameter(b_SLOR.to(device))
            self.factors[group] = pair
            self.parameters.extend(pair)
        self.optimiser = Optimiser([(self.parameters, run.train.lr)], run.train, num_steps)

    def clip(self, limit: float) -> Tensor:
        """Scale every slot's gradient to a norm of at most `limit`, as clip_grad_norm_ does for one.

        Returns the norms before, (S,).
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        assert len(gradients) == len(self.parameters), "no gradient reached some factors"
        squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients])
        norm_S = squares.sum(0).sqrt()
        scale_S = (limit / (norm_S + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(scale_S.view(-1, 1, 1, 1))
        return norm_S

    def drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def lora_generator(seed: int, task: str) -> torch.Generator:
    """Draws A of every site group in turn: what a task starts from, whoever trains it."""
    return named_generator(seed, f"lora {task}")


def init_a(group: SiteGroup, rank: int, generator: torch.Generator) -> Tensor:
    """A of all layers, (L, r, d_in), as peft initialises it: kaiming-uniform with a = sqrt(5)."""
    bound = 1 / math.sqrt(group.d_in)
    shape = (len(group.layers), rank, group.d_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
