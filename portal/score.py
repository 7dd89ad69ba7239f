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
    def norm_choice(self) -> int:
        """argmax_k of sum logp / characters with the leading space; ties go to the first."""
        normalised = [score / chars for score, chars in zip(self.scores, self.row.chars, strict=True)]
        return normalised.index(max(normalised))

    @property
    def gold_nll(self) -> float:
        return -self.scores[self.row.gold]


@dataclass(frozen=True)
class Summary:
    """Metrics of one task: accuracies in 0..1, log-loss in nats per gold token."""

    num_examples: int
    chance: float
    acc: float
    acc_norm: float
    log_loss: float
    gold_tokens: int


def score_rows(base: Base, rows: Sequence[Row], *, max_tokens: int = MAX_TOKENS) -> list[Scored]:
    """Every row's choices scored by the base as it is now (adapters active or not), in the order of `rows`.

    Raises ValueError when the base does not use sdpa attention (a 4-D mask is silently wrong elsewhere) and
    FloatingPointError, naming task and example, for a score that is not finite.
    """
    if base.model.config._attn_implementation != "sdpa":
        raise ValueError(f"packed scoring needs sdpa attention, base {base.name!r} was loaded with another")
    scored: list[Scored | None] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda index: _packed_length(rows[index]))
    start = 0
    with torch.inference_mode():
        while start < len(order):
            end = _batch_end([_packed_length(rows[index]) for index in order[start:]], max_tokens) + start
            batch = [rows[index] for index in order[start:end]]
            for index, row, scores in zip(order[start:end], batch, _score_batch(base, batch), strict=True):
                if not all(math.isfinite(score) for score in scores):
                    raise FloatingPointError(
                        f"task {row.task!r}, example {row.id!r}: a score is not finite: {scores}"
                    )
                scored[index] = Scored(row, scores)
            start = end
    return [item for item in scored if item is not None]


def summarise(scored: Sequence[Scored]) -> Summary:
    """Accuracy, length-normalised accuracy and log-loss of one task's scored rows (METHOD, "Evaluation")."""
    count = len(scored)
    gold_tokens = sum(len(item.row.choices[item.row.gold]) for item in scored)
    return Summary(
        num_examples=count,
        chance=sum(1 / len(item.row.choices) for item in scored) / count,
        acc=sum(item.raw_choice == item.row.gold for item in scored) / count,
        acc_norm=sum(item.norm_choice == item.row.gold for item in scored) / count,
        log_loss=sum(item.gold_nll for item in scored) / gold_tokens,
        gold_tokens=gold_tokens,
    )


def _packed_length(row: Row) -> int:
    return len(row.prompt) + sum(len(choice) - 1 for choice in row.choices)


def _batch_end(lengths: Sequence[int], max_tokens: int) -> int:
    """How many of the ascending `lengths` fit `max_tokens` padded to the longest; at least one."""
    count = 1
    while count < len(lengths) and (count + 1) * lengths[count] <= max_tokens:
        count += 1
    return count


def _score_batch(base: Base, rows: Sequence[Row]) -> list[tuple[float, ...]]:
    length = max(_packed_length(row) for row in rows)
    ids_NT = torch.zeros(len(rows), length, dtype=torch.long)
    positions_NT = torch.zeros(len(rows), length, dtype=torch.long)
    branch_NT = torch.full((len(rows), length), _PADDING)
    reads: list[
        tuple[int, int, int]
    ] = []  # (row, position, token) of every answer token, choice after choice
    for index, row in enumerate(rows):
        prefix = len(row.prompt)
        ids_NT[index, :prefix] = torch.tensor(row.prompt)
        positions_NT[index, :prefix] = torch.arange(prefix)
        branch_NT[index, :prefix] = 0
        start = prefix
        for number, choice in enumerate(row.choices, start=1):
            end = start + len(choice) - 1
            ids_NT[index, start:end] = torch.tensor(choice[:-1], dtype=torch.long)
            positions_NT[index, start:end] = torch.arange(prefix, prefix + len(choice) - 1)
            branch_NT[index, start:end] = number
            reads.append((index, prefix - 1, choice[0]))
            reads.extend((index, start + offset, token) for offset, token in enumerate(choice[1:]))
            start = end
    row_K, position_K, token_K = torch.tensor(reads).T
    keep_NT = torch.zeros(len(rows), length, dtype=torch.bool)
    keep_NT[row_K, position_K] = True
    kept_NT = keep_NT.flatten().cumsum(0).view_as(keep_NT) - 1  # index among the kept positions
    device = base.device
    log_probs = answer_log_probs(
        base.model,
        ids_NT.to(device),
        keep_NT.to(device),
        position_ids=positions_NT.to(device),
        attention_mask=_attention_masks(base, branch_NT.to(device), positions_NT.to(device)),
    )
    token_scores = log_probs[kept_NT[row_K, position_K].to(device), token_K.to(device)].double().tolist()
    scores = []
    cursor = 0
    for row in rows:
        sums = []
        for choice in row.choices:
            sums.append(math.fsum(token_scores[cursor : cursor + len(choice)]))
            cursor += len(choice)
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
