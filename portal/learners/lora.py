"""LoRAs trained on one base: an independent adapter per task, or one for all tasks."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from portal.bases.sites import SiteGroup, group_sites
from portal.config import RunConfig
from portal.forward.adapter_hooks import concatenate_slots
from portal.hypernet import Factors
from portal.learners.base import Bases, Learner, RowTables, Start, named_generator
from portal.learners.optimiser import Optimiser, Rates

ALL_TASKS = "all tasks"
"""Names the draw of a shared adapter's initial values, where a per-task LoRA has the task's name."""


class LoraLearner(Learner):
    """The per-task LoRA baseline: all tasks are stepped together, each for epochs of its own."""

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None = None) -> None:
        super().__init__(run, bases, rows)
        assert run.seed is not None
        self._groups = group_sites(self.base.sites, self.adapter.modules)
        seed, rank, rate = run.seed, self.adapter.rank, self.train.lr
        stack_tasks(self, lambda tasks: [(fresh_loras(seed, tasks, self._groups, rank, self.device), rate)])

    def factors(self, base: str) -> Factors:
        parts = [zip(each.parameters[::2], each.parameters[1::2], strict=True) for each in self.optimisers]
        return concatenate_slots([dict(zip(self._groups, pairs, strict=True)) for pairs in parts])


class SharedLora(Learner):
    """A single adapter that every slot uses: the control of what a port shares between tasks.

    A step minimises the mean loss of a batch per trained task. Tasks that the run is not trained on are
    scored with the same adapter.
    """

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None = None) -> None:
        super().__init__(run, bases, rows)
        assert run.seed is not None
        self._groups = group_sites(self.base.sites, self.adapter.modules)
        stacked = fresh_loras(run.seed, [ALL_TASKS], self._groups, self.adapter.rank, self.device)
        parameters = [nn.Parameter(factor.data[0]) for factor in stacked]
        self.optimisers = [Optimiser([(parameters, self.train.lr)], self.train, self.num_steps)]

    def factors(self, base: str) -> Factors:
        """The adapter once for every slot, without copies."""
        slots, parameters = len(self.tasks), self.optimisers[0].parameters
        expanded = [factor.expand(slots, *factor.shape) for factor in parameters]
        pairs = zip(expanded[::2], expanded[1::2], strict=True)
        return dict(zip(self._groups, pairs, strict=True))

    def loss_weights(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor:
        """The mean over the tasks that train."""
        return torch.full_like(loss_S, 1 / len(self.trained_tasks))


def stack_tasks(learner: Learner, fresh_parameters: Callable[[Sequence[str]], Rates]) -> None:
    """Give a learner whose tasks share nothing an optimiser for all tasks with equally many steps.

    `fresh_parameters` makes what trains of some tasks, each (S, ...), on the learner's device. Slots go by
    falling number of steps, then as the config names tasks.
    """
    steps = learner.schedule.task_steps
    learner.tasks = tuple(sorted(learner.tasks, key=lambda task: -steps(task)))
    by_steps: dict[int, list[str]] = {}
    for task in learner.tasks:
        by_steps.setdefault(steps(task), []).append(task)
    learner.optimisers = [
        Optimiser(fresh_parameters(tasks), learner.train, num_steps, tasks=tasks)
        for num_steps, tasks in by_steps.items()
    ]


def fresh_loras(
    seed: int, tasks: Sequence[str], groups: Sequence[SiteGroup], rank: int, device: torch.device
) -> list[nn.Parameter]:
    """A, (S, L, r, d_in), drawn by seed and task, and B, (S, L, d_out, r), zero, of every group in turn.

    What a task starts from is the same, whoever trains it: A is kaiming-uniform with a = sqrt(5), as peft
    initialises it.
    """
    generators = [named_generator(seed, f"lora {task}") for task in tasks]
    parameters: list[nn.Parameter] = []
    for group in groups:
        bound, shape = 1 / math.sqrt(group.d_in), (len(group.layers), rank, group.d_in)
        drawn = [torch.empty(shape).uniform_(-bound, bound, generator=each) for each in generators]
        b_SLOR = torch.zeros(len(tasks), len(group.layers), group.d_out, rank)
        parameters += [nn.Parameter(torch.stack(drawn).to(device)), nn.Parameter(b_SLOR.to(device))]
    return parameters
