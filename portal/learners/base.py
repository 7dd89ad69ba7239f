"""`Learner`: what takes steps. It owns its parameters, optimiser, data order, counters and evaluations."""

import zlib
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import RunConfig, TrainConfig
from portal.data.sampling import batch_rows, calibration_rows, num_batches
from portal.data.token_rows import RowTable
from portal.forward.microbatch import SlotRows
from portal.hypernet import Factors

FLOPS_PER_PARAM_TOKEN = 4
"""Forward (2) and the activations' gradient (2); frozen weights take no gradient of their own."""


class Learner(ABC):
    """One run in training: slot s of its adapters belongs to task `tasks[s]`.

    `bases` and `rows` are by base name and hold what the run's config names; bases that another worker of a
    team runs are without weights. A step is one balanced round:
    one batch of every task that still trains, on every base. `broken`, a number on the device, turns from 0
    to 1 with the first loss or gradient that is not finite; no update changes anything after that.
    """

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        self.run = run
        self.key = run.key  # a hash of all of it: not to be computed in every step
        self.tasks = run.data.tasks
        self.bases = {ref.name: bases[ref.name] for ref in run.bases}
        self.step = 0
        self.train_tokens = 0
        self.train_flops = 0.0
        self.wall_s = 0.0
        self.device = next(base.device for base in self.bases.values() if base.device.type != "meta")
        self.broken = torch.zeros((), device=self.device)
        self.scored: set[tuple[str, int]] = set()
        self._calibration = {
            (base, task): calibration_rows(rows[base].rows(task, "train"), run.data.size, run.seed or 0)
            for base in self.bases
            for task in self.tasks
        }

    @property
    def size(self) -> int:
        """Calibration rows a task as the run asks for; where it asks for all, those of the largest task."""
        return self.run.data.size or max(len(rows) for rows in self._calibration.values())

    @property
    def train(self) -> TrainConfig:
        assert self.run.train is not None, "only method 'base' has no training recipe"
        return self.run.train

    @property
    @abstractmethod
    def num_trained_params(self) -> int:
        """Parameters that receive gradients."""

    def norm_ratio(self, task: str) -> float | None:
        """Mean of ||dW|| / ||dW_source|| over a transferred adapter's matrices; null for other methods."""
        return None

    @abstractmethod
    def rounds_per_epoch(self, task: str) -> int:
        """Steps after which `task` has finished one more epoch."""

    @cached_property
    def num_steps(self) -> int:
        return max(self.task_steps(task) for task in self.tasks)

    def task_steps(self, task: str) -> int:
        """Steps in which `task` trains."""
        return self.num_epochs(task) * self.rounds_per_epoch(task)

    def num_epochs(self, task: str) -> int:
        """The recipe's epochs, or as many as `min_steps` takes."""
        return max(self.train.epochs, -(-self.train.min_steps // self.rounds_per_epoch(task)))

    @property
    def epoch(self) -> int:
        """Finished epochs of the longest task."""
        return self.step // max(self.rounds_per_epoch(task) for task in self.tasks)

    @property
    def done(self) -> bool:
        """Whether every step is taken and every evaluation owed has been made."""
        return self.step >= self.num_steps and not self.owed()

    def owed(self) -> list[tuple[str, int]]:
        """(task, epoch) pairs whose evaluation is due at this step, before the next one is taken."""
        due = []
        for task in self.tasks:
            epoch, into = divmod(min(self.step, self.task_steps(task)), self.rounds_per_epoch(task))
            last = epoch == self.num_epochs(task)
            wanted = last or (self.train.evaluate == "every_epoch" and into == 0)
            if wanted and (task, epoch) not in self.scored:
                due.append((task, epoch))
        return due

    def slot_rows(self, base: str, owner: int) -> list[SlotRows]:
        """This step's batches on `base`, one a task that still trains."""
        stream = list(self.bases).index(base)
        return [
            SlotRows(
                owner,
                slot,
                batch_rows(
                    self._calibration[base, task],
                    batch_size=self.train.batch_size,
                    seed=self.run.seed or 0,
                    stream=stream,
                    step=self.step,
                ),
                self.train.choice_loss,
            )
            for slot, task in enumerate(self.tasks)
            if self.step < self.task_steps(task)
        ]

    @cached_property
    def _batches_in_pass(self) -> dict[str, int]:
        """Batches in one pass over each task's calibration rows."""
        base = next(iter(self.bases))
        return {t: num_batches(len(self._calibration[base, t]), self.train.batch_size) for t in self.tasks}

    @abstractmethod
    def factors(self, base: str) -> Factors:
        """Adapter factors of all tasks on `base`, with the graph that leads to the parameters."""

    def loss_weights(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor | None:
        """What the losses of these slots count in the sum that is differentiated, (S,); None: all count 1."""
        return None

    @abstractmethod
    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        """Carry the factors' gradients on to the parameters."""

    @abstractmethod
    def update(self, loss_K: Tensor) -> Tensor:
        """Clip and step, unless a loss of this step or a gradient is not finite; the norms before, (M,)."""

    def norm_names(self, count: int) -> list[str]:
        """What the norms that `update` returns are."""
        return ["the gradient's norm"] * count

    @abstractmethod
    def drop_gradients(self) -> None:
        """Forget what this step has computed so far, so that it can be taken again."""

    def watch(self, *values: Tensor) -> None:
        """Note on the device whether all `values` are finite, which a finite sum of them shows."""
        total = torch.stack([value.detach().sum() for value in values]).sum()
        self.broken = torch.maximum(self.broken, (~torch.isfinite(total)).to(self.broken.dtype))

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All parameters and optimiser state."""

    @abstractmethod
    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""

    @abstractmethod
    def save_artifact(self, folder: Path) -> None:
        """Write what the run is for: a portable artifact or PEFT adapters."""

    def count(self, base: str, num_tokens: int) -> None:
        """Book `num_tokens` run through `base`."""
        self.train_tokens += num_tokens
        self.train_flops += FLOPS_PER_PARAM_TOKEN * self.bases[base].num_decoder_params * num_tokens

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON value) from which `restore` continues: on a CPU bit for bit."""
        meta = {
            "step": self.step,
            "train_tokens": self.train_tokens,
            "train_flops": self.train_flops,
            "wall_s": self.wall_s,
            "scored": sorted(self.scored),
        }
        return self.tensors(), meta

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Continue from a saved state of the same run."""
        self.restore_tensors(tensors)
        self.step = meta["step"]
        self.train_tokens = meta["train_tokens"]
        self.train_flops = meta["train_flops"]
        self.wall_s = meta["wall_s"]
        self.scored = {(task, epoch) for task, epoch in meta["scored"]}


def named_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one named draw of a run; other draws do not move it."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
