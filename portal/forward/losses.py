"""The losses of a micro-batch: every slot's share of it, with the adapters active.

Without a choice loss a row is its prompt and gold answer; with one it carries all its choices
(shared_prefix.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.device import to_device
from portal.forward.attention_masks import causal_masks
from portal.forward.microbatch import SlotRows, bucket_length
from portal.forward.output_head import token_log_probs
from portal.forward.shared_prefix import answer_token_scores, pack_rows

_CHOICES = 16
"""Rows have room for a multiple of so many choices: over more, a softmax sums in another order."""


def slot_losses(base: Base, slots: Sequence[SlotRows], *, length: int | None = None) -> Tensor:
    """The share of every slot's loss that the given rows have, (S,), fp32; the adapters are active already.

    A slot's loss is the mean NLL over its gold answers' tokens, plus, with a choice weight w, w times the
    mean over its rows of CE(softmax_k(sum logp_k / chars_k)). Either all slots have a choice weight or none.
    All rows run in one forward, in order, padded to `length` (unset: the longest row's bucket). Padding is on
    the right, where causal attention keeps it from any real token.
    """
    length = length or bucket_length(max(slot.length for slot in slots))
    if slots[0].choice_weight:
        return _choice_losses(base, slots, length)
    return _gold_losses(base, slots, length)


def _gold_losses(base: Base, slots: Sequence[SlotRows], length: int) -> Tensor:
    ids: list[int] = []
    kept: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for index, row in ((index, row) for index, slot in enumerate(slots) for row in slot.rows):
        own, start = row.gold_ids, row.gold_start
        answer, first = own[start:], len(ids) + start - 1
        ids += own
        ids += (0,) * (length - len(own))
        kept.extend(range(first, first + len(answer)))
        targets.extend(answer)
        owners.extend([index] * len(answer))
    device = base.device
    masks = causal_masks(base.text_config, length, device)
    nll_K = -token_log_probs(
        base.model,
        to_device(torch.tensor(ids).view(-1, length), device),
        torch.tensor(kept),
        torch.arange(len(kept)),
        torch.tensor(targets),
        attention_mask=masks,
    )
    total_S = nll_K.new_zeros(len(slots)).index_add(0, to_device(owners, nll_K.device), nll_K)
    return total_S / to_device([slot.num_gold_tokens for slot in slots], nll_K.device)


def _choice_losses(base: Base, slots: Sequence[SlotRows], length: int) -> Tensor:
    placed = [(index, row) for index, slot in enumerate(slots) for row in slot.rows]
    owners, rows = [index for index, _ in placed], [row for _, row in placed]
    batch = pack_rows(rows, length=length)
    token_score_K = answer_token_scores(base, batch)
    device = token_score_K.device
    most = -(-max(len(row.choices) for row in rows) // _CHOICES) * _CHOICES
    lengths = [length for row in batch.choice_lengths for length in row]
    places = [
        row * most + choice for row, own in enumerate(batch.choice_lengths) for choice in range(len(own))
    ]
    place_K = to_device(torch.tensor(places).repeat_interleave(torch.tensor(lengths)), device)
    score_RC = token_score_K.new_zeros(len(rows) * most).index_add(0, place_K, token_score_K).view(-1, most)
    chars_RC = to_device(
        torch.tensor([[*row.chars, *[0] * (most - len(row.choices))] for row in rows]), device
    )
    gold_R = to_device([row.gold for row in rows], device)
    owner_R = to_device(owners, device)

    def per_slot(value_R: Tensor) -> Tensor:
        return value_R.new_zeros(len(slots)).index_add(0, owner_R, value_R)

    logit_RC = torch.where(chars_RC > 0, score_RC / chars_RC.clamp(min=1), -torch.inf)
    choice_S = per_slot(torch.nn.functional.cross_entropy(logit_RC, gold_R, reduction="none"))
    gold_S = per_slot(-score_RC.gather(1, gold_R[:, None])[:, 0])
    weight_S = to_device([slot.choice_weight / slot.num_rows for slot in slots], device)
    return gold_S / to_device([slot.num_gold_tokens for slot in slots], device) + weight_S * choice_S
