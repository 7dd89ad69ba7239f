"""Per-task LoRAs by peft alone, one task after another: what the packed learner is compared with.

They start from given factors and see given batches; forward, loss and adapters are peft's and transformers'
own, on a copy of the base.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from benchmarks.peft_adapter import labelled_batch
from portal.bases.base import Base
from portal.hypernet import Factors
from portal.learners.lora import LoraLearner

Pairs = dict[str, tuple[nn.Parameter, nn.Parameter]]
"""A and B by the path of their linear."""


@dataclass(frozen=True)
class PeftLora:
    """One task's adapter after its last step, and the loss of every step."""

    pairs: Pairs
    losses: list[float]


def train_with_peft(start: LoraLearner, base: Base, task: str) -> PeftLora:
    """The task trained from where the learner, which has taken no step, starts, by its recipe."""
    train, steps = start.train, start.schedule.task_steps(task)
    model, pairs = _adapted(start, base, start.task_factors(task))
    parameters = [parameter for pair in pairs.values() for parameter in pair]
    optimiser = torch.optim.AdamW(parameters, lr=train.lr, weight_decay=train.weight_decay)
    losses = []
    for step in range(steps):
        batch = labelled_batch(start.data.batch(base.name, task, step))
        ids_NT, mask_NT, label_NT = (each.to(base.device) for each in batch)
        loss: Tensor = model(input_ids=ids_NT, attention_mask=mask_NT, labels=label_NT).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, train.clip_norm)
        if train.schedule == "linear":
            optimiser.param_groups[0]["lr"] = train.lr * (steps - step) / steps
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    return PeftLora(pairs, losses)


def _adapted(start: LoraLearner, base: Base, factors: Factors) -> tuple[Any, Pairs]:
    paths = {(site.module, site.layer): site.path for site in base.sites}
    values = {
        paths[group.module, layer]: (a[0, index].detach(), b[0, index].detach())
        for group, (a, b) in factors.items()
        for index, layer in enumerate(group.layers)
    }
    config = LoraConfig(
        r=start.adapter.rank, lora_alpha=start.adapter.alpha, lora_dropout=0.0, target_modules=list(values)
    )
    model: Any = get_peft_model(copy.deepcopy(base.model), config)
    pairs: Pairs = {}
    for path, own in values.items():
        linear = model.base_model.model.get_submodule(path)
        pairs[path] = linear.lora_A["default"].weight, linear.lora_B["default"].weight
        for parameter, value in zip(pairs[path], own, strict=True):
            parameter.data.copy_(value)
    return model, pairs
