"""Packed scoring of choices: one row a document, exact, finite or an error.

A packed row is the prompt followed by every choice's tail as a branch: a choice's first token is predicted at
the prompt's end, so its last token never has to be read and single-token labels add nothing. Positions
restart at the prompt's length for every branch and a 4-D mask lets a position see the prompt and its own
branch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from portal.adapt import answer_log_probs
from portal.bases import Base
from portal.results import UNITS
from portal.rows import Row

MAX_TOKENS = 6144
"""Padded tokens of one scoring forward."""

_PADDING = -1


@dataclass(frozen=True)
class Scored:
    """A row and the log-likelihood of each of its choices, in nats."""

    row: Row
    scores: tuple[float, ...]

    @property
    def raw_choice(self) -> int:
        """argmax_k of sum logp; ties go to the first."""
        return self.scores.index(max(self.scores))

    @property
    def is_tied(self) -> bool:
        """Whether another choice is as likely as the likeliest."""
        return self.scores.count(max(self.scores)) > 1

    def norm_choice(self, unit: str) -> int:
        """argmax_k of sum logp / length in `unit` (one of `results.UNITS`); ties go to the first."""
        lengths: Sequence[int]
        if unit == "tokens":
            lengths = self.row.scored_tokens
        else:
            lengths = getattr(self.row, UNITS[unit])
        normalised = [score / length for score, length in zip(self.scores, lengths, strict=True)]
        return normalised.index(max(normalised))

    @property
    def gold_nll(self) -> float:
        return -self.scores[self.row.gold]


@dataclass(frozen=True)
class Summary:
    """Metrics of one task: accuracies in 0..1 (normalised ones by unit), log-loss in nats per gold token."""

    num_examples: int
    chance: float
    acc: float
    acc_norm: dict[str, float]
    log_loss: float
    gold_tokens: int
    ties: int


@dataclass(frozen=True)
class PackedBatch:
    """N packed rows of T positions, and K reads of kept positions, one an answer token."""

    ids_NT: Tensor
    positions_NT: Tensor
    branch_NT: Tensor  # 0 prompt, k the tail of choice k - 1, -1 padding
    keep_NT: Tensor
    read_K: Tensor
    token_K: Tensor
    choice_lengths: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Layout:
    """Rows and their packed batches; `order[i]` is the index of the i-th packed row."""

    rows: tuple[Row, ...]
    order: tuple[int, ...]
    batches: tuple[PackedBatch, ...]


def score_rows(base: Base, rows: Sequence[Row], *, max_tokens: int = MAX_TOKENS) -> list[Scored]:
    """Every row's choices scored by the base as it is now (adapters active or not), in the order of `rows`.

    Raises ValueError when the base does not use sdpa attention (a 4-D mask is silently wrong elsewhere) and
    FloatingPointError, naming task and example, for a score that is not finite.
    """
    return score_layout(base, lay_out(rows, max_tokens=max_tokens))


def lay_out(rows: Sequence[Row], *, max_tokens: int = MAX_TOKENS) -> Layout:
    """The packed batches of `rows`, by rising length: prepared once, scored as often as adapters change."""
    order = sorted(range(len(rows)), key=lambda index: _packed_length(rows[index]))
    lengths = [_packed_length(rows[index]) for index in order]
    batches = []
    start = 0
    while start < len(order):
        end = start + _batch_end(lengths[start:], max_tokens)
        batches.append(_pack_batch([rows[index] for index in order[start:end]]))
        start = end
    return Layout(tuple(rows), tuple(order), tuple(batches))


def score_layout(base: Base, layout: Layout) -> list[Scored]:
    """`score_rows` for rows that are laid out already."""
    if base.model.config._attn_implementation != "sdpa":
        raise ValueError(f"packed scoring needs sdpa attention, base {base.name!r} was loaded with another")
    in_order: list[tuple[float, ...]] = []
    with torch.inference_mode():
        for batch in layout.batches:
            in_order.extend(_score_batch(base, batch))
    by_index = dict(zip(layout.order, in_order, strict=True))
    scored = [Scored(row, by_index[index]) for index, row in enumerate(layout.rows)]
    for item in scored:
        if not all(math.isfinite(score) for score in item.scores):
            where = f"task {item.row.task!r}, example {item.row.id!r}"
            raise FloatingPointError(f"{where}: a score is not finite: {item.scores}")
    return scored


def summarise(scored: Sequence[Scored]) -> Summary:
    """Accuracy, length-normalised accuracy and log-loss of one task's scored rows (METHOD, "Evaluation")."""
    count = len(scored)
    gold_tokens = sum(item.row.scored_tokens[item.row.gold] for item in scored)
    return Summary(
        num_examples=count,
        chance=sum(1 / len(item.row.choices) for item in scored) / count,
        acc=sum(item.raw_choice == item.row.gold for item in scored) / count,
        acc_norm={
            unit: sum(item.norm_choice(unit) == item.row.gold for item in scored) / count for unit in UNITS
        },
        log_loss=sum(item.gold_nll for item in scored) / gold_tokens,
        gold_tokens=gold_tokens,
        ties=sum(item.is_tied for item in scored),
    )


def _packed_length(row: Row) -> int:
    return len(row.prompt) + sum(len(choice) - 1 for choice in row.choices)


def _batch_end(lengths: Sequence[int], max_tokens: int) -> int:
    """How many of the ascending `lengths` fit `max_tokens` padded to the longest; at least one."""
    count = 1
    while count < len(lengths) and (count + 1) * lengths[count] <= max_tokens:
        count += 1
    return count


def _pack_batch(rows: Sequence[Row]) -> PackedBatch:
    length = max(_packed_length(row) for row in rows)
    ids, positions, branches = [], [], []
    reads: list[
        tuple[int, int, int]
    ] = []  # (row, position, token) of every answer token, choice after choice
    for index, row in enumerate(rows):
        prefix = len(row.prompt)
        row_ids, row_positions, row_branches = list(row.prompt), list(range(prefix)), [0] * prefix
        for number, (choice, skip) in enumerate(zip(row.choices, row.unscored, strict=True), start=1):
            start, tail = len(row_ids), len(choice) - 1
            row_ids += choice[:-1]
            row_positions += range(prefix, prefix + tail)
            row_branches += [number] * tail
            before = [
                prefix - 1,
                *range(start, start + tail),
            ]  # where each of the choice's tokens is predicted
            reads.extend((index, before[place], choice[place]) for place in range(skip, len(choice)))
        padding = length - len(row_ids)
        ids.append(row_ids + [0] * padding)
        positions.append(row_positions + [0] * padding)
        branches.append(row_branches + [_PADDING] * padding)
    row_K, position_K, token_K = torch.tensor(reads).T
    keep_NT = torch.zeros(len(rows), length, dtype=torch.bool)
    keep_NT[row_K, position_K] = True
    kept_NT = keep_NT.flatten().cumsum(0).view_as(keep_NT) - 1  # index among the kept positions
    return PackedBatch(
        ids_NT=torch.tensor(ids),
        positions_NT=torch.tensor(positions),
        branch_NT=torch.tensor(branches),
        keep_NT=keep_NT,
        read_K=kept_NT[row_K, position_K],
        token_K=token_K,
        choice_lengths=tuple(row.scored_tokens for row in rows),
    )


def _score_batch(base: Base, batch: PackedBatch) -> list[tuple[float, ...]]:
    device = base.device
    positions_NT, branch_NT = batch.positions_NT.to(device), batch.branch_NT.to(device)
    log_probs = answer_log_probs(
        base.model,
        batch.ids_NT.to(device),
        batch.keep_NT.to(device),
        position_ids=positions_NT,
        attention_mask=_attention_masks(base, branch_NT, positions_NT),
    )
    token_scores = log_probs[batch.read_K.to(device), batch.token_K.to(device)].double().tolist()
    scores = []
    cursor = 0
    for lengths in batch.choice_lengths:
        sums = []
        for length in lengths:
            sums.append(math.fsum(token_scores[cursor : cursor + length]))
            cursor += length
        scores.append(tuple(sums))
    return scores


def _attention_masks(base: Base, branch_NT: Tensor, positions_NT: Tensor) -> Any:
    """The 4-D boolean mask, or one per kind of layer where the base has sliding ones (position space)."""
    length = branch_NT.shape[1]
    causal_TT = torch.ones(length, length, dtype=torch.bool, device=branch_NT.device).tril()
    same_NTT = branch_NT[:, :, None] == branch_NT[:, None, :]
    prefix_NTT = (branch_NT == 0)[:, None, :]
    full = (causal_TT & (same_NTT | prefix_NTT))[:, None]
    window = getattr(base.text_config, "sliding_window", None)
    kinds = getattr(base.text_config, "layer_types", None)
    near = full
    if window is not None:
        near = full & (positions_NT[:, :, None] - positions_NT[:, None, :] < window)[:, None]
    if kinds is None:
        return near
    unknown = set(kinds) - {"full_attention", "sliding_attention"}
    if unknown:
        raise ValueError(
            f"base {base.name!r} has layers of kind {sorted(unknown)}, which packed scoring does not know"
        )
    if "sliding_attention" not in kinds:
        return full
    return {"full_attention": full, "sliding_attention": near}
