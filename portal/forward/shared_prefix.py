"""Packed rows: a prompt followed by every choice's tail as a branch, in one row of a forward.

A choice's first token is predicted at the prompt's end, so its last token never has to be read and
single-token labels add nothing. Positions restart at the prompt's length for every branch and a 4-D mask lets
a position see the prompt and its own branch. Bases whose layers cannot keep branches apart get a row for each
choice instead. Shape letters: N rows, T positions, P kept positions, K reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.device import to_device
from portal.forward.attention_masks import branch_masks, causal_masks
from portal.forward.output_head import token_log_probs

_PADDING = -1


@dataclass(frozen=True)
class SharedPrefixBatch:
    """N rows of T positions, and K reads of kept positions, one an answer token."""

    ids_NT: Tensor
    # Positions, and branches (0 prompt, k the tail of choice k - 1, -1 padding), (N, T) both; None where a
    # row is a prompt and one choice.
    layout: tuple[Tensor, Tensor] | None
    kept_P: Tensor  # indices of the P kept ones among the flattened positions
    read_K: Tensor
    token_K: Tensor
    choice_lengths: tuple[tuple[int, ...], ...]


def packed_length(row: TokenRow) -> int:
    """Positions of a packed row."""
    return len(row.prompt) + sum(len(choice) - 1 for choice in row.choices)


def choice_length(row: TokenRow) -> int:
    """Positions of the longest of a question's rows where each choice has one."""
    return len(row.prompt) + max(len(choice) for choice in row.choices) - 1


def pack_rows(rows: Sequence[TokenRow], *, length: int | None = None) -> SharedPrefixBatch:
    """The rows as one batch, all choices in each, padded to the longest or to `length`."""
    length = length or max(packed_length(row) for row in rows)
    ids, positions, branches = [], [], []
    reads: list[_Read] = []  # of every answer token, choice after choice
    for index, row in enumerate(rows):
        prefix = len(row.prompt)
        row_ids, row_positions, row_branches = list(row.prompt), list(range(prefix)), [0] * prefix
        for number, (choice, skip) in enumerate(zip(row.choices, row.unscored, strict=True), start=1):
            start, tail = len(row_ids), len(choice) - 1
            row_ids += choice[:-1]
            row_positions += range(prefix, prefix + tail)
            row_branches += [number] * tail
            before = [prefix - 1, *range(start, start + tail)]  # where each of its tokens is predicted
            reads.extend((index, before[place], choice[place]) for place in range(skip, len(choice)))
        padding = length - len(row_ids)
        ids.append(row_ids + [0] * padding)
        positions.append(row_positions + [0] * padding)
        branches.append(row_branches + [_PADDING] * padding)
    layout = torch.tensor(positions), torch.tensor(branches)
    return _batch(rows, torch.tensor(ids), reads, layout)


def pack_choices(rows: Sequence[TokenRow]) -> SharedPrefixBatch:
    """The rows as one batch, a row of it for each choice, padded to the longest."""
    length = max(choice_length(row) for row in rows)
    ids: list[list[int]] = []
    reads: list[_Read] = []
    for row in rows:
        for choice, skip in zip(row.choices, row.unscored, strict=True):
            start = len(row.prompt) - 1
            reads.extend((len(ids), start + place, choice[place]) for place in range(skip, len(choice)))
            own = [*row.prompt, *choice[:-1]]
            ids.append(own + [0] * (length - len(own)))
    return _batch(rows, torch.tensor(ids), reads, None)


_Read = tuple[int, int, int]
"""Row, position and token of an answer token."""


def _batch(
    rows: Sequence[TokenRow], ids_NT: Tensor, reads: Sequence[_Read], layout: tuple[Tensor, Tensor] | None
) -> SharedPrefixBatch:
    row_K, position_K, token_K = torch.tensor(reads).T
    keep_NT = torch.zeros(ids_NT.shape, dtype=torch.bool)
    keep_NT[row_K, position_K] = True
    kept_NT = keep_NT.flatten().cumsum(0).view_as(keep_NT) - 1  # index among the kept positions
    return SharedPrefixBatch(
        ids_NT=ids_NT,
        layout=layout,
        kept_P=keep_NT.flatten().nonzero()[:, 0],
        read_K=kept_NT[row_K, position_K],
        token_K=token_K,
        choice_lengths=tuple(row.scored_tokens for row in rows),
    )


def answer_token_scores(base: Base, batch: SharedPrefixBatch) -> Tensor:
    """log P of every answer token, (K,), fp32, choice after choice and row after row.

    ValueError for branches in a base that does not take them: it would mix them up without a word.
    """
    device = base.device
    masks: dict[str, Any] = {}
    if batch.layout is None:
        masks["attention_mask"] = causal_masks(base.text_config, batch.ids_NT.shape[1], device)
    elif base.takes_branches:
        positions_NT, branch_NT = (to_device(each, device) for each in batch.layout)
        masks["position_ids"] = positions_NT
        masks["attention_mask"] = branch_masks(base.text_config, branch_NT, positions_NT)
    else:
        raise ValueError(f"base {base.name!r} takes one choice in a row only")
    ids_NT = to_device(batch.ids_NT, device)
    return token_log_probs(base.model, ids_NT, batch.kept_P, batch.read_K, batch.token_K, **masks)
