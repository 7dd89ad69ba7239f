"""`PeftAdapter`: one task's LoRA in peft, trained as its users do."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.data.token_rows import TokenRow

IGNORED = -100
"""The label that transformers leaves out of the loss."""


class PeftAdapter:
    """A copy of the base with one adapter, fused AdamW, clipping at 1.

    `answer_only` computes logits at the answers' positions alone; otherwise transformers' own loss is used,
    which computes them everywhere.
    """

    def __init__(self, base: Base, adapter: AdapterConfig, *, answer_only: bool) -> None:
        paths = [site.path for site in base.sites if site.module in adapter.modules]
        config = LoraConfig(r=adapter.rank, lora_alpha=adapter.alpha, lora_dropout=0.0, target_modules=paths)
        self._model: Any = get_peft_model(copy.deepcopy(base.model), config)
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(self._parameters, lr=1e-4, weight_decay=0.0, fused=True)
        self._answer_only = answer_only

    def step(self, rows: Sequence[TokenRow]) -> float:
        """One step on a batch; its loss."""
        device = self._parameters[0].device
        ids_NT, mask_NT, label_NT = (each.to(device) for each in labelled_batch(rows))
        loss = self._loss(ids_NT, mask_NT, label_NT)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    def _loss(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor, label_NT: torch.Tensor) -> torch.Tensor:
        inputs = {"input_ids": ids_NT, "attention_mask": mask_NT, "use_cache": False}
        if not self._answer_only:
            loss: torch.Tensor = self._model(**inputs, labels=label_NT).loss
            return loss
        next_NT = label_NT.roll(-1, dims=1)
        next_NT[:, -1] = IGNORED
        keep_NT = next_NT != IGNORED
        logits_KV = self._model(**inputs, logits_to_keep=keep_NT).logits
        return torch.nn.functional.cross_entropy(logits_KV.float(), next_NT[keep_NT])


def labelled_batch(rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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
