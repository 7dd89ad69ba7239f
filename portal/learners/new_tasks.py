"""New tasks of an artifact, whose core and converter are held: their latents are taught, or chosen."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from portal.artifacts.artifact import Artifact, save_more_tasks
from portal.artifacts.model_card import RunRecord
from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import TokenRow
from portal.forward.losses import slot_losses
from portal.forward.microbatch import SlotRows
from portal.hypernet import Factors
from portal.learners.base import Bases, Learner, RowTables, Start
from portal.learners.fixed import next_tasks
from portal.learners.lora import stack_tasks
from portal.learners.optimiser import Rates

MOST_ROWS = 16
"""Rows of a task that are compared: more take time."""
_AT_ONCE = 8
"""Tasks whose rows share a forward."""


class NewTasks(Learner):
    """Tasks are added to the artifact of the run's base that the run starts from."""

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> None:
        super().__init__(run, bases, rows)
        assert start is not None, "new tasks are taught to an artifact"
        self._artifact = Artifact.load(start.folder)
        self._artifact.check_base(self.base)
        self._source = self._artifact.as_source()
        _, core = self._artifact.frozen_core((), self.adapter, self.hypernet)
        self._core = core.to(self.device).requires_grad_(False)
        self._converter = self._artifact.converter().to(self.device).requires_grad_(False)

    @property
    @abstractmethod
    def latents(self) -> Tensor:
        """Of all slots, (T, d_z)."""

    def factors(self, base: str) -> Factors:
        return self._converter(self._core, self.latents)

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write the artifact with its old tasks, bit for bit, and the new ones after them."""
        latents = dict(zip(self.tasks, self.latents, strict=True))
        in_order = {task: latents[task] for task in self.run.data.tasks}
        save_more_tasks(folder, self._artifact, in_order, source=self._source, base=self.base, record=record)

    def _nearest(self, tasks: Sequence[str]) -> list[Tensor]:
        """For each task the latent of the artifact's task that fits its rows best."""
        rows = self.data.first_rows(self.base.name, MOST_ROWS)
        nearest = nearest_tasks(self._artifact, self.base, {task: rows[task] for task in tasks})
        return [self._artifact.latents[nearest[task]] for task in tasks]

    def _described(self, tasks: Sequence[str]) -> list[Tensor]:
        """For each task the mean of the latents that its phrasings stand for."""
        described = self._artifact.described_latents(
            {task: self.run.data.descriptions[task] for task in tasks}
        )
        return [described[task] for task in tasks]


class TaughtLatents(NewTasks):
    """Latents start at the mean of those that the converter was trained with, or each at one of them or at
    what its task's description stands for.
    """

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> None:
        super().__init__(run, bases, rows, start)
        stack_tasks(self, self._fresh_latents)

    def _fresh_latents(self, tasks: Sequence[str]) -> Rates:
        match self.train.latent_start:
            case "mean":
                starts = [self._artifact.mean_latent] * len(tasks)
            case "nearest":
                starts = self._nearest(tasks)
            case "description":
                starts = self._described(tasks)
        return [([nn.Parameter(torch.stack(starts).to(self.device))], self.train.lr_latent)]

    @property
    def latents(self) -> Tensor:
        return torch.cat([latents for each in self.optimisers for latents in each.parameters])

    def trained_latents(self) -> dict[str, Tensor]:
        return dict(zip(self.tasks, self.latents.detach(), strict=True))


class FixedLatents(NewTasks):
    """Controls of taught latents, which nothing trains.

    A task has the latent that fits its rows best, or what its description stands for: then no row is read.
    A mismatched one has the description of the next task in the config's order, the last that of the first.
    """

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables, start: Start | None) -> None:
        super().__init__(run, bases, rows, start)
        if run.spec.by_description:
            lenders = next_tasks(self.tasks, run.method) if run.spec.lends_latents else self.tasks
            found = self._described(lenders)
        else:
            found = self._nearest(self.tasks)
        self._latents = torch.stack(found).to(self.device)

    @property
    def latents(self) -> Tensor:
        return self._latents


def nearest_tasks(artifact: Artifact, base: Base, rows: Mapping[str, Sequence[TokenRow]]) -> dict[str, str]:
    """For every task of `rows`, the calibrated task of the artifact with the least loss on them.

    The loss is the one that is trained on: the mean NLL of gold answers' tokens. Of equal ones the first
    counts.
    """
    slots = [SlotRows(0, 0, tuple(own)) for own in rows.values()]
    known = artifact.known_tasks
    loss_KS = torch.stack([_losses(artifact, base, task, slots) for task in known])
    return {task: known[place] for task, place in zip(rows, loss_KS.argmin(0).tolist(), strict=True)}


def _losses(artifact: Artifact, base: Base, task: str, slots: Sequence[SlotRows]) -> Tensor:
    """The losses of some rows, (S,), with the adapter of `task`, so many of them in a forward as fit."""
    with artifact.applied(base, task), torch.inference_mode():
        parts = [
            slot_losses(base, slots[start : start + _AT_ONCE]) for start in range(0, len(slots), _AT_ONCE)
        ]
    return torch.cat(parts)
