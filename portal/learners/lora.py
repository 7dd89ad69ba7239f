"""Per-task LoRA: one independent adapter per task, all of them stepped together."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_task_adapters
from portal.bases.base import Base
from portal.bases.sites import SiteGroup, group_sites
from portal.config import RunConfig
from portal.data.token_rows import RowTable
from portal.forward.adapter_hooks import concatenate_slots
from portal.hypernet import Factors
from portal.learners.base import Learner, Start, named_generator
from portal.learners.task_stacks import RateGroup, StackedTasks


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


class LoraLearner(StackedTasks, TaskLoras):
    """The per-task LoRA baseline."""

    def fresh_parameters(self, tasks: Sequence[str]) -> list[RateGroup]:
        """A, (S, L, r, d_in), and B, (S, L, d_out, r), of every site group in turn."""
        assert self.run.seed is not None
        loras = fresh_loras(self.run.seed, tasks, self._groups, self.adapter.rank, self.device)
        return [(loras, self.train.lr)]

    def factors(self, base: str) -> Factors:
        parts = [zip(stack.parameters[::2], stack.parameters[1::2], strict=True) for stack in self.stacks]
        return concatenate_slots([dict(zip(self._groups, pairs, strict=True)) for pairs in parts])


def fresh_loras(
    seed: int, tasks: Sequence[str], groups: Sequence[SiteGroup], rank: int, device: torch.device
) -> list[nn.Parameter]:
    """A, (S, L, r, d_in), drawn by seed and task, and B, (S, L, d_out, r), zero, of every group in turn."""
    generators = [lora_generator(seed, task) for task in tasks]
    parameters: list[nn.Parameter] = []
    for group in groups:
        a_SLRI = torch.stack([init_a(group, rank, generator) for generator in generators])
        b_SLOR = torch.zeros(len(tasks), len(group.layers), group.d_out, rank)
        parameters += [nn.Parameter(a_SLRI.to(device)), nn.Parameter(b_SLOR.to(device))]
    return parameters


def lora_generator(seed: int, task: str) -> torch.Generator:
    """Draws A of every site group in turn: what a task starts from, whoever trains it."""
    return named_generator(seed, f"lora {task}")


def init_a(group: SiteGroup, rank: int, generator: torch.Generator) -> Tensor:
    """A of all layers, (L, r, d_in), as peft initialises it: kaiming-uniform with a = sqrt(5)."""
    bound = 1 / math.sqrt(group.d_in)
    shape = (len(group.layers), rank, group.d_in)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
