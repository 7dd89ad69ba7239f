"""One training forward: rows in slots through the adapted base, and the answer NLL of every slot."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.adapt import answer_log_probs
from portal.bases import Base
from portal.rows import Row

_BUCKETS = (*range(8, 64, 4), 64, 80, 96, 128, 192, 256)
"""Fine steps where a token is a large share, few shapes elsewhere; longer rows: multiples of 128."""


@dataclass(frozen=True)
class SlotRows:
    """The rows of one adapter slot in one step."""

    owner: int  # which learner of the pack
    slot: int  # which of its adapters
    rows: tuple[Row, ...]

    @property
    def length(self) -> int:
        return bucket_length(max(len(row.gold_ids) for row in self.rows))

    @property
    def num_tokens(self) -> int:
        return sum(len(row.gold_ids) for row in self.rows)


def bucket_length(length: int) -> int:
    """The padded length of a forward whose longest row has `length` tokens."""
    for bucket in _BUCKETS:
        if length <= bucket:
            return bucket
    return -(-length // 128) * 128


def slot_losses(base: Base, slots: Sequence[SlotRows]) -> Tensor:
    """Mean NLL over the gold answers' tokens of every slot, (S,), fp32; the adapters are active already.

    All slots run in one forward with equally many rows each: a slot with fewer rows than the fullest is
    filled with copies that count nothing. Padding is on the right, where causal attention keeps it from any
    real token.
    """
    rows_per_slot = max(len(slot.rows) for slot in slots)
    length = max(slot.length for slot in slots)
    num_rows = rows_per_slot * len(slots)
    ids_NT = torch.zeros(num_rows, length, dtype=torch.long)
    keep_NT = torch.zeros(num_rows, length, dtype=torch.bool)
    targets: list[int] = []
    owners: list[int] = []
    for index, slot in enumerate(slots):
        for offset in range(rows_per_slot):
            row = slot.rows[min(offset, len(slot.rows) - 1)]
            position = index * rows_per_slot + offset
            ids_NT[position, : len(row.gold_ids)] = torch.tensor(row.gold_ids)
            if offset < len(slot.rows):
                answer = row.gold_ids[row.gold_start :]
                keep_NT[position, row.gold_start - 1 : len(row.gold_ids) - 1] = True
                targets.extend(answer)
                owners.extend([index] * len(answer))
    device = base.device
    log_probs_KV = answer_log_probs(base.model, ids_NT.to(device), keep_NT.to(device))
    target_K = torch.tensor(targets, device=device)
    owner_K = torch.tensor(owners, device=device)
    nll_K = -log_probs_KV.gather(1, target_K[:, None])[:, 0]
    total_S = nll_K.new_zeros(len(slots)).index_add(0, owner_K, nll_K)
    return total_S / torch.bincount(owner_K, minlength=len(slots))
