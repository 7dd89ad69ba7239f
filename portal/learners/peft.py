"""Per-task LoRA trained by peft, one task after another: the reference that the packed learner must follow.

It starts from the same values and sees the same batches; forward, loss and adapters are peft's and
transformers' own, on a copy of the base. Evaluation and export are everyone's.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from portal.bases.base import Base
from portal.config import RunConfig
from portal.data.token_rows import RowTable, TokenRow
from portal.forward.microbatch import SlotRows
from portal.hypernet import Factors
from portal.learners.lora import TaskLoras, init_a, lora_generator
from portal.learners.optimiser import Optimiser, clip_global_norm
from portal.storage.checkpoint import below

IGNORED = -100
"""The label that transformers leaves out of the loss."""


def _check_bound(model: Any, paths: Iterable[str]) -> None:
    """ValueError for a linear layer that was to be adapted and that peft has passed over.

    It takes names in the feed-forward of some mixtures for those of the routed experts.
    """
    for path in paths:
        if not isinstance(model.base_model.model.get_submodule(path), LoraLayer):
            raise ValueError(
                f"engine peft: peft does not adapt {path} of a {type(model.base_model.model).__name__}; "
                "engine pack does"
            )


class PeftLearner(TaskLoras):
    """Holds a second copy of the base, which peft changes, and one optimiser per task."""

    def __init__(self, run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable]) -> None:
        super().__init__(run, bases, rows)
        assert run.seed is not None
        self._paths = {(site.module, site.layer): site.path for site in self._base.sites}
        paths = [self._paths[group.module, i] for group in self._groups for i in group.layers]
        config = LoraConfig(
            r=self.adapter.rank,
            lora_alpha=self.adapter.alpha,
            lora_dropout=0.0,
            bias="none",
            target_modules=paths,
        )
        first, *others = self.tasks
        self._model: Any = get_peft_model(copy.deepcopy(self._base.model), config, adapter_name=first)
        _check_bound(self._model, paths)
        for task in others:
            self._model.add_adapter(task, copy.deepcopy(config))
        self._parameters = {task: self._start(task, run.seed) for task in self.tasks}
        self._round: list[str] = []
        self._optimisers = {
            task: Optimiser([(parameters, self.train.lr)], self.train, self.schedule.task_steps(task))
            for task, parameters in self._parameters.items()
        }

    @property
    def num_trained_params(self) -> int:
        return sum(p.numel() for parameters in self._parameters.values() for p in parameters)

    def run_own_forwards(self, slots: list[SlotRows]) -> Tensor:
        """The mean NLL of every task in `slots`, (S,), by peft's forwards; `update` steps them."""
        self._round = [self.tasks[slot.slot] for slot in slots]
        losses = []
        for slot, task in zip(slots, self._round, strict=True):
            self._model.set_adapter(task)
            ids_NT, mask_NT, label_NT = (part.to(self._base.device) for part in labelled_batch(slot.rows))
            loss = self._model(input_ids=ids_NT, attention_mask=mask_NT, labels=label_NT).loss
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def factors(self, base: str) -> Factors:
        factors: Factors = {}
        for group in self._groups:
            pairs = [[self._pair(task, group.module, layer) for layer in group.layers] for task in self.tasks]
            a, b = (
                torch.stack([torch.stack([pair[side].detach() for pair in layers]) for layers in pairs])
                for side in (0, 1)
            )
            factors[group] = a, b
        return factors

    def backward(self, base: str, factors: Factors, gradients: dict[Any, tuple[Tensor, Tensor]]) -> None:
        raise AssertionError("peft's own backward trains this learner")

    def update(self, loss_K: Tensor) -> Tensor:
        norms = [clip_global_norm(self._parameters[task], self.train.clip_norm) for task in self._round]
        norm_S = torch.stack(norms)
        self.watch(loss_K, norm_S)
        for task in self._round:
            self._optimisers[task].step(self.step, skip=self.broken)
        return norm_S

    def artifact_tensors(self, tasks: Iterable[str]) -> dict[str, Tensor]:
        return {
            f"{task}/{index}": parameter.data
            for task in tasks
            for index, parameter in enumerate(self._parameters[task])
        }

    def drop_gradients(self) -> None:
        for parameters in self._parameters.values():
            for parameter in parameters:
                parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        tensors = {}
        for task in self.tasks:
            for index, parameter in enumerate(self._parameters[task]):
                tensors[f"{task}/parameter/{index}"] = parameter.data
            for name, value in self._optimisers[task].tensors().items():
                tensors[f"{task}/optimiser/{name}"] = value
        return tensors

    def restore_tensors(self, tensors: dict[str, Tensor]) -> None:
        for task in self.tasks:
            for index, parameter in enumerate(self._parameters[task]):
                parameter.data.copy_(tensors[f"{task}/parameter/{index}"])
            self._optimisers[task].restore(below(tensors, f"{task}/optimiser/"))

    def _start(self, task: str, seed: int) -> list[nn.Parameter]:
        """The task's parameters, at the values that the packed learner starts from."""
        generator = lora_generator(seed, task)
        parameters: list[nn.Parameter] = []
        for group in self._groups:
            for layer, a_RI in zip(group.layers, init_a(group, self.adapter.rank, generator), strict=True):
                a, b = self._pair(task, group.module, layer)
                a.data.copy_(a_RI)
                b.data.zero_()
                parameters.extend((a, b))
        return parameters

    def _pair(self, task: str, module: str, layer: int) -> tuple[nn.Parameter, nn.Parameter]:
        linear: Any = self._model.base_model.model.get_submodule(self._paths[module, layer])
        return linear.lora_A[task].weight, linear.lora_B[task].weight


def labelled_batch(rows: Sequence[TokenRow]) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded ids, their mask, and labels at the answers' tokens only, (N, T) each."""
    length = max(len(row.gold_ids) for row in rows)
    ids_NT = torch.zeros(len(rows), length, dtype=torch.long)
    mask_NT = torch.zeros_like(ids_NT)
    label_NT = torch.full_like(ids_NT, IGNORED)
    for index, row in enumerate(rows):
        end = len(row.gold_ids)
        ids_NT[index, :end] = torch.tensor(row.gold_ids)
        mask_NT[index, :end] = 1
        label_NT[index, row.gold_start : end] = ids_NT[index, row.gold_start : end]
    return ids_NT, mask_NT, label_NT
