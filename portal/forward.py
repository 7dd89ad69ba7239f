"""One training forward: rows in slots through the adapted base, and the loss of every slot.

Without a choice loss a row is its prompt and gold answer; with one it carries all its choices (packed.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.adapt import answer_log_probs
from portal.bases import Base
from portal.masks import causal_masks
from portal.packed import answer_token_scores, pack_rows, packed_length
from portal.rows import Row
from portal.upload import upload

_BUCKETS = (*range(8, 64, 4), 64, 80, 96, 128, 192, 256)
"""Fine steps where a token is a large share, few shapes elsewhere; longer rows: multiples of 128."""


@dataclass(frozen=True)
class SlotRows:
    """The rows of one adapter slot in one step."""

    owner: int  # which learner of the pack
    slot: int  # which of its adapters
    rows: tuple[Row, ...]
    choice_weight: float = 0.0  # of the choice loss

    @property
    def length(self) -> int:
        return bucket_length(max(self._row_lengths))

    @property
    def num_tokens(self) -> int:
        return sum(self._row_lengths)

    @property
    def _row_lengths(self) -> list[int]:
        return [packed_length(row) if self.choice_weight else len(row.gold_ids) for row in self.rows]


def bucket_length(length: int) -> int:
    """The padded length of a forward whose longest row has `length` tokens."""
    for bucket in _BUCKETS:
        if length <= bucket:
            return bucket
    return -(-length // 128) * 128


def slot_losses(base: Base, slots: Sequence[SlotRows]) -> Tensor:
    """The loss of every slot, (S,), fp32; the adapters are active already.

    It is the mean NLL over the gold answers' tokens, plus, in slots with a choice weight w, w times the mean
    over rows of CE(softmax_k(sum logp_k / chars_k)). Either all slots have a choice weight or none. All slots
    run in one forward with equally many rows each: a slot with fewer rows than the fullest is filled with
    copies that count nothing. Padding is on the right, where causal attention keeps it from any real token.
    """
    if slots[0].choice_weight:
        return _choice_losses(base, slots)
    return _gold_losses(base, slots)


def _gold_losses(base: Base, slots: Sequence[SlotRows]) -> Tensor:
    rows_per_slot = max(len(slot.rows) for slot in slots)
    length = max(slot.length for slot in slots)
    num_rows = rows_per_slot * len(slots)
    ids_NT = torch.zeros(num_rows, length, dtype=torch.long)
    kept: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, slot in enumerate(slots):
        for offset in range(rows_per_slot):
            row = slot.rows[min(offset, len(slot.rows) - 1)]
            position = index * rows_per_slot + offset
            ids_NT[position, : len(row.gold_ids)] = torch.tensor(row.gold_ids)
            if offset < len(slot.rows):
                answer = row.gold_ids[row.gold_start :]
                first = position * length + row.gold_start - 1
                kept.extend(range(first, first + len(answer)))
                targets.extend(answer)
                owners.extend([index] * len(answer))
    device = base.device
    masks = causal_masks(base.text_config, length, device)
    log_probs_KV = answer_log_probs(
        base.model, upload(ids_NT, device), upload(kept, device), attention_mask=masks
    )
    nll_K = -log_probs_KV.gather(1, upload(targets, device)[:, None])[:, 0]
    total_S = nll_K.new_zeros(len(slots)).index_add(0, upload(owners, device), nll_K)
    counts = [owners.count(index) for index in range(len(slots))]
    return total_S / upload(counts, device)


def _choice_losses(base: Base, slots: Sequence[SlotRows]) -> Tensor:
    rows_per_slot = max(len(slot.rows) for slot in slots)
    rows, owners, weights = [], [], []  # weights: what a row counts in its slot's mean
    for index, slot in enumerate(slots):
        for offset in range(rows_per_slot):
            rows.append(slot.rows[min(offset, len(slot.rows) - 1)])
            owners.append(index)
            weights.append(1 / len(slot.rows) if offset < len(slot.rows) else 0.0)
    batch = pack_rows(rows, length=max(slot.length for slot in slots))
    token_score_K = answer_token_scores(base, batch)
    device = token_score_K.device
    most = max(len(row.choices) for row in rows)
    lengths = [length for row in batch.choice_lengths for length in row]
    places = [
        row * most + choice for row, own in enumerate(batch.choice_lengths) for choice in range(len(own))
    ]
    place_K = upload(torch.tensor(places).repeat_interleave(torch.tensor(lengths)), device)
    score_RC = token_score_K.new_zeros(len(rows) * most).index_add(0, place_K, token_score_K).view(-1, most)
    chars_RC = upload(torch.tensor([[*row.chars, *[0] * (most - len(row.choices))] for row in rows]), device)
    gold_R = upload([row.gold for row in rows], device)
    weight_R = upload(weights, device)
    owner_R = upload(owners, device)

    def per_slot(value_R: Tensor) -> Tensor:
        return value_R.new_zeros(len(slots)).index_add(0, owner_R, value_R)

    logit_RC = torch.where(chars_RC > 0, score_RC / chars_RC.clamp(min=1), -torch.inf)
    choice_S = per_slot(weight_R * torch.nn.functional.cross_entropy(logit_RC, gold_R, reduction="none"))
    counted_R = (weight_R > 0).float()
    gold_tokens_R = upload([row.scored_tokens[row.gold] for row in rows], device)
    gold_score_R = score_RC.gather(1, gold_R[:, None])[:, 0]
    gold_S = per_slot(-counted_R * gold_score_R) / per_slot(counted_R * gold_tokens_R)
    return gold_S + upload([slot.choice_weight for slot in slots], device) * choice_S
