"""`Learner`: one run in training. It owns its parameters, optimisers, counters and evaluations.

Shape letters: S slots with rows on one base, K such slots of all bases of a step, M gradient norms.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from portal.artifacts.model_card import RunRecord
from portal.artifacts.peft_adapter import save_task_adapters
from portal.bases.base import Base
from portal.config import AdapterConfig, BaseRef, HypernetConfig, RunConfig
from portal.data.token_rows import RowTable
from portal.forward.microbatch import FLOPS_PER_PARAM_TOKEN, SlotRows
from portal.hypernet import Factors
from portal.learners.kept import (
    COSTS,
    EVALUATED_SPLITS,
    REPORTED_SPLIT,
    SELECTION_SPLIT,
    KeptEpochs,
    LossCurve,
)
from portal.learners.optimiser import Optimiser
from portal.learners.schedule import DataOrder, TrainingSchedule
from portal.storage.checkpoint import below
from portal.train_config import TrainConfig

Bases = dict[str, Base]
RowTables = dict[str, RowTable]
"""Both are by the names of bases."""
_KEPT = "kept/"


@dataclass(frozen=True)
class Start:
    """What a run starts from: the folder of its parent's artifact, which lies on this machine.

    `latents` is the folder of the artifact whose latents are carried to the run's base. A transfer needs
    more: the parent's `base`, a way to load it, and a folder that caches singular vectors.
    """

    folder: Path
    base: BaseRef | None = None
    load_base: Callable[[BaseRef], Base] | None = None
    cache: Path | None = None
    latents: Path | None = None


def build_learner(run: RunConfig, bases: Bases, rows: RowTables, *, start: Start | None = None) -> "Learner":
    """A fresh learner for `run`; ValueError where its method has a parent and `start` is missing."""
    if run.spec.parents and start is None:
        raise ValueError(
            f"run {run.describe()}: it starts from a run of {run.spec.parents[0]!r}, none is given"
        )
    module, _, name = run.spec.learner.partition(":")
    learner: Learner = getattr(import_module(module), name)(run, bases, rows, start)
    return learner


class Learner(ABC):
    """One run in training: slot s of its adapters belongs to task `tasks[s]`; `trained_tasks` give rows.

    Methods differ in what their `optimisers` step, in the `factors` that they make of it, and in what they
    save. One that trains nothing has no optimiser, takes no step and is scored once, at epoch 0.

    `bases` and `rows` are by base name and hold what the run's config names; bases that another worker of
    the group runs are without weights. A step is one balanced round: one batch of every task that still
    trains, on every base. `broken`, a number on the device, turns from 0 to 1 with the first loss or gradient
    that is not finite; no update changes anything after that.
    """

    def __init__(self, run: RunConfig, bases: Bases, rows: RowTables) -> None:
        self.run = run
        self.key = run.key  # a hash of all of it: not to be computed in every step
        self.tasks, self.trained_tasks = run.data.tasks, run.data.trained_tasks
        self._giving_rows = frozenset(self.trained_tasks)
        self.bases = {ref.name: bases[ref.name] for ref in run.bases}
        self.step = 0
        self.train_tokens = 0
        self.train_flops = 0.0
        self.wall_s = 0.0
        self.losses = LossCurve()
        self.device = next(base.device for base in self.bases.values() if base.device.type != "meta")
        self.broken = torch.zeros((), device=self.device)
        self.scored: set[tuple[str, int]] = set()
        self.scored_as_kept: set[str] = set()  # whose test rows were scored again, at the kept epoch
        self.data = DataOrder(run, rows)
        self.schedule = TrainingSchedule(run.train, self.data.batches, joint=not run.spec.per_task)
        keeps_best = run.train is not None and run.train.keep == "best_validation"
        self.kept = KeptEpochs(self.trained_tasks, per_task=run.spec.per_task) if keeps_best else None
        self.optimisers: list[Optimiser] = []

    @property
    def base(self) -> Base:
        """The base of a run that has a single one."""
        (base,) = self.bases.values()
        return base

    @property
    def adapter(self) -> AdapterConfig:
        """The shape of the adapters; only the frozen base has none."""
        assert self.run.adapter is not None, f"method {self.run.method!r} has no adapter"
        return self.run.adapter

    @property
    def hypernet(self) -> HypernetConfig:
        assert self.run.hypernet is not None, f"method {self.run.method!r} has no hypernetwork"
        return self.run.hypernet

    @property
    def train(self) -> TrainConfig:
        assert self.run.train is not None, f"method {self.run.method!r} does not train"
        return self.run.train

    @property
    def num_trained_params(self) -> int:
        """Parameters that receive gradients."""
        return sum(parameter.numel() for each in self.optimisers for parameter in each.parameters)

    def norm_ratio(self, task: str) -> float | None:
        """Mean of ||dW|| / ||dW_source|| over a transferred adapter's matrices; null for other methods."""
        return None

    def trained_latents(self) -> dict[str, Tensor]:
        """The latent of every task, (d_z,), as the run has trained it; none of other methods."""
        return {}

    @property
    def num_steps(self) -> int:
        return self.schedule.num_steps

    @property
    def epoch(self) -> int:
        """Finished epochs of the longest task."""
        return self.schedule.epoch(self.step)

    @property
    def done(self) -> bool:
        """Whether every step is taken and every evaluation owed has been made."""
        return self.step >= self.num_steps and not self.owed()

    def owed(self) -> list[tuple[str, int]]:
        """(task, epoch) pairs whose evaluation is due at this step, before the next one is taken.

        After the last of them come those whose test rows are scored only because they are kept.
        """
        due = ((task, self.schedule.evaluation_due(task, self.step)) for task in self.tasks)
        own = [(task, epoch) for task, epoch in due if epoch is not None and (task, epoch) not in self.scored]
        return own or self._owed_of_kept()

    def _owed_of_kept(self) -> list[tuple[str, int]]:
        """(task, epoch) pairs that are kept, whose test rows wait for the last step to be scored."""
        train = self.run.train
        if self.step < self.num_steps or train is None or train.test_scores == "every_evaluation":
            return []
        return [
            (task, epoch)
            for task, epoch in self._kept_epochs().items()
            if epoch != self.schedule.num_epochs(task) and task not in self.scored_as_kept
        ]

    def begin_evaluation(self, tasks: Sequence[str], epoch: int) -> dict[str, tuple[str, ...]]:
        """The splits that are scored of each of these tasks, which owe this epoch.

        Where test rows are scored last, the parameters are from now on those that the run leaves.
        """
        if self.run.train is None or self.run.train.test_scores == "every_evaluation":
            return dict.fromkeys(tasks, EVALUATED_SPLITS)
        if all((task, epoch) in self.scored for task in tasks):
            self.restore_kept()
            return dict.fromkeys(tasks, (REPORTED_SPLIT,))
        return {
            task: EVALUATED_SPLITS if epoch == self.schedule.num_epochs(task) else (SELECTION_SPLIT,)
            for task in tasks
        }

    def end_evaluation(self, tasks: Sequence[str], epoch: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """The evaluation of these tasks is made, with these result rows, which are judged."""
        for task in tasks:
            if (task, epoch) in self.scored:
                self.scored_as_kept.add(task)
            self.scored.add((task, epoch))
        self.judge(epoch, rows)

    def costs(self, task: str, epoch: int) -> dict[str, Any]:
        """What training had cost when `epoch` ended, by column of the result rows; None without training."""
        if self.run.train is None:
            return dict.fromkeys(COSTS)
        if self.kept is not None and (task, epoch) in self.scored:
            return self.kept.costs(task)
        return {"train_tokens": self.train_tokens, "train_flops": self.train_flops, "wall_s": self.wall_s}

    def tasks_at(self, step: int) -> list[str]:
        """The tasks that give rows in this step, in the order of the slots."""
        part = self.data.part_at(step)
        return [task for task in self.tasks if task in part and step < self.schedule.task_steps(task)]

    def slot_rows(self, base: str, owner: int) -> list[SlotRows]:
        """This step's batches on `base`, one for each task that takes part."""
        slots = {task: slot for slot, task in enumerate(self.tasks)}
        return [
            SlotRows(owner, slots[task], self.data.batch(base, task, self.step), self.train.choice_loss)
            for task in self.tasks_at(self.step)
        ]

    @abstractmethod
    def factors(self, base: str) -> Factors:
        """Adapter factors of all tasks on `base`, with the graph that leads to the parameters."""

    def training_factors(self, base: str) -> Factors:
        """Those of this step: a learner may train on others than it is scored with."""
        return self.factors(base)

    def task_factors(self, task: str) -> Factors:
        """The adapter of one task on the run's only base, slot dimension of size 1."""
        slot = self.tasks.index(task)
        factors = self.factors(self.base.name)
        return {group: (a[slot : slot + 1], b[slot : slot + 1]) for group, (a, b) in factors.items()}

    def loss_weights(self, base: str, slots: list[int], loss_S: Tensor) -> Tensor | None:
        """Weights of these slots' losses in the sum that is differentiated, (S,); None: all are 1."""
        return None

    def backward(self, base: str, factors: Factors, gradients: Factors) -> None:
        """Carry the factors' gradients on to the parameters."""
        outputs = [factor for group in factors for factor in factors[group]]
        torch.autograd.backward(outputs, [gradient for group in factors for gradient in gradients[group]])

    def update(self, loss_K: Tensor) -> Tensor:
        """Clip and step, unless a loss of this step or a gradient is not finite; the norms before, (M,)."""
        self.gather_gradients()
        training = [each for each in self.optimisers if self.step < each.num_steps]
        norm_M = torch.cat([each.clip() for each in training])
        self.watch(loss_K, norm_M)
        for each in self.optimisers:
            if each in training:
                each.step(self.step, skip=self.broken)
            else:
                each.drop_gradients()
        self.end_step()
        return norm_M

    def gather_gradients(self) -> None:  # noqa: B027 - most have none
        """Bring what the bases of this step gave to the parameters, where `backward` has not done so."""

    def end_step(self) -> None:  # noqa: B027 - of most nothing waits
        """Make current what waits for the update."""

    def norm_names(self, count: int) -> list[str]:
        """Names of the norms that `update` returns, for the message where one is not finite."""
        if not self.run.spec.per_task:
            return ["the gradient's norm"] * count
        return [f"the gradient's norm of task {task!r}" for task in self.tasks[:count]]

    def drop_gradients(self) -> None:
        """Forget what this step has computed so far, so that it can be taken again."""
        for optimiser in self.optimisers:
            optimiser.drop_gradients()

    def watch(self, *values: Tensor) -> None:
        """Note on the device whether all `values` are finite, which a finite sum of them shows."""
        total = torch.stack([value.detach().sum() for value in values]).sum()
        self.broken = torch.maximum(self.broken, (~torch.isfinite(total)).to(self.broken.dtype))

    def parameter_tensors(self) -> dict[str, Tensor]:
        """All that training changes but the optimisers' own state, by name in a checkpoint."""
        return {
            f"{prefix}parameter/{index}": parameter.data
            for prefix, optimiser in self._by_prefix()
            for index, parameter in enumerate(optimiser.parameters)
        }

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and optimiser state."""
        states = {
            f"{prefix}optimiser/{name}": value
            for prefix, optimiser in self._by_prefix()
            for name, value in optimiser.tensors().items()
        }
        return self.parameter_tensors() | states

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        for name, value in self.parameter_tensors().items():
            value.copy_(tensors[name])
        for prefix, optimiser in self._by_prefix():
            optimiser.restore(below(tensors, f"{prefix}optimiser/"))

    def _by_prefix(self) -> list[tuple[str, Optimiser]]:
        """The optimisers, those of stacked tasks by their number."""
        return [(f"{number}/" if each.tasks else "", each) for number, each in enumerate(self.optimisers)]

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        """The trained tensors that the artifact of these tasks is made of, by name; not copies.

        They are the slots of these tasks, and everything that tasks share.
        """
        wanted, found = set(tasks), dict[str, Tensor]()
        for optimiser in self.optimisers:
            for index, parameter in enumerate(optimiser.parameters):
                if not optimiser.tasks:
                    found[str(index)] = parameter.data
                for slot, task in enumerate(optimiser.tasks):
                    if task in wanted:
                        found[f"{task}/{index}"] = parameter.data[slot]
        return found

    def save_artifact(self, folder: Path, record: RunRecord) -> None:
        """Write what the run is for: one PEFT adapter per task, in `folder/<task>`; nothing of a frozen base.

        `record` is what they cite. Methods that leave a portable artifact write that.
        """
        if self.run.spec.artifact is None:
            return
        with torch.no_grad():
            factors = {task: self.task_factors(task) for task in self.tasks}
            save_task_adapters(folder, factors, base=self.base, adapter=self.adapter, record=record)

    def judge(self, epoch: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep copies of the parameters where these result rows of an evaluation are the best so far.

        Without `keep: best_validation` nothing is kept.
        """
        if self.kept is not None and (tasks := self.kept.better_tasks(epoch, rows)):
            tensors = self.artifact_tensors(tasks)
            self.kept.tensors |= {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def restore_kept(self) -> dict[str, int]:
        """Bring back the parameters that the run leaves; by task, the epoch that they are of, if any.

        No step is taken after that.
        """
        if self.kept is None:
            return {task: self.schedule.num_epochs(task) for task in self.tasks}
        for name, tensor in self.artifact_tensors(self.kept.epochs).items():
            tensor.data.copy_(self.kept.tensors[name])
        return self._kept_epochs()

    def _kept_epochs(self) -> dict[str, int]:
        """The kept epoch of every task that has one."""
        assert self.kept is not None, "the run keeps its best evaluation"
        kept = self.kept.epochs
        without_rows = [task for task in self.tasks if task not in self._giving_rows]
        return kept | {task: max(kept.values()) for task in without_rows}  # trained together: one epoch

    def count_step(self, tokens: Mapping[str, int]) -> None:
        """The step is taken: it ran these numbers of tokens through the bases, by name."""
        self.step += 1
        for base, num_tokens in tokens.items():
            self.train_tokens += num_tokens
            self.train_flops += FLOPS_PER_PARAM_TOKEN * self.bases[base].num_active_params * num_tokens

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON value) from which `restore` continues: on a CPU bit for bit."""
        meta: dict[str, Any] = {
            "step": self.step,
            "train_tokens": self.train_tokens,
            "train_flops": self.train_flops,
            "wall_s": self.wall_s,
            "losses": self.losses.state(),
            "scored": sorted(self.scored),
        }
        if self.kept is None:
            return self.tensors(), meta
        kept = {f"{_KEPT}{name}": tensor for name, tensor in self.kept.tensors.items()}
        meta |= {"kept": self.kept.state(), "scored_as_kept": sorted(self.scored_as_kept)}
        return self.tensors() | kept, meta

    def restore(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Continue from a saved state of the same run."""
        kept = below(tensors, _KEPT)
        self.restore_tensors({name: t for name, t in tensors.items() if not name.startswith(_KEPT)})
        self.step = meta["step"]
        self.train_tokens = meta["train_tokens"]
        self.train_flops = meta["train_flops"]
        self.wall_s = meta["wall_s"]
        self.losses = LossCurve.restored(meta["losses"])
        self.scored = {(task, epoch) for task, epoch in meta["scored"]}
        if self.kept is not None:
            self.scored_as_kept = set(meta["scored_as_kept"])
            self.kept.restore(meta["kept"], {name: t.to(self.device) for name, t in kept.items()})


def named_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator for one named draw of a run; other draws do not move it."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
    return torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
