"""Scoring of answers: one row a question, or one a choice (shared_prefix.py); exact, finite or an error."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from portal.bases.base import Base
from portal.data.token_rows import TokenRow
from portal.device import copy_to_host
from portal.evaluate.written import Judged
from portal.forward.microbatch import group_by_length, launch_cost
from portal.forward.shared_prefix import (
    SharedPrefixBatch,
    answer_token_scores,
    choice_length,
    pack_choices,
    pack_rows,
    packed_length,
)
from portal.results import ACC_NORM, UNITS

MAX_TOKENS = 6144
"""Padded tokens of one scoring forward."""


@dataclass(frozen=True)
class Scored:
    """A row and the log-likelihood of each of its choices, in nats; `judged` is what was written to it.

    Choices are compared by their scores in fp32, as the table of predictions has them. The one choice of a
    row with a written answer is its first right answer.
    """

    row: TokenRow
    scores: tuple[float, ...]
    judged: Judged | None = None

    @property
    def acc(self) -> float:
        """The row's share of accuracy by sum logp: 1, or 0, or 1 / n where n choices tie and gold is one."""
        return right_share(self._compared, self.row.gold)

    @property
    def is_tied(self) -> bool:
        """Whether another choice is as likely as the likeliest."""
        return self._compared.count(max(self._compared)) > 1

    def acc_norm(self, unit: str) -> float:
        """The row's share of accuracy by sum logp / length in `unit`, one of `results.UNITS`."""
        lengths: Sequence[int]
        if unit == "tokens":
            lengths = self.row.scored_tokens
        else:
            lengths = getattr(self.row, UNITS[unit])
        per_length = [score / length for score, length in zip(self._compared, lengths, strict=True)]
        return right_share(per_length, self.row.gold)

    @cached_property
    def _compared(self) -> list[float]:
        compared: list[float] = np.asarray(self.scores, dtype=np.float32).tolist()
        return compared

    @property
    def gold_nll(self) -> float:
        return -self.scores[self.row.gold]


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """Metrics of one task: accuracies in 0..1 (normalised ones by unit), log-loss in nats per gold token.

    `score` is the task's headline, from 0 to 1, higher is better: by `metric` of its written answers, of
    choices acc_norm by characters. A task with written answers has no accuracies, and `unended` of its
    answers were as long as they may be. `majority` is the accuracy of the answer that is right most often,
    None unless all rows offer the same.
    """

    num_examples: int
    chance: float = 0.0
    majority: float | None = None
    acc: float | None = None
    acc_norm: dict[str, float] = field(default_factory=dict)
    log_loss: float
    gold_tokens: int
    ties: int = 0
    metric: str
    score: float
    unended: int = 0


@dataclass(frozen=True)
class ScoringBatches:
    """Rows and their packed batches; `order[i]` is the index of the i-th packed row."""

    rows: tuple[TokenRow, ...]
    order: tuple[int, ...]
    batches: tuple[SharedPrefixBatch, ...]

    @property
    def is_finest(self) -> bool:
        """Whether every batch is a single row."""
        return len(self.batches) == len(self.rows)


def right_share(values: Sequence[float], gold: int) -> float:
    """The chance that a fair draw among the highest values is `gold`: 1 / n if it is one of n, else 0."""
    highest = max(values)
    return 1 / values.count(highest) if values[gold] == highest else 0.0


def score_rows(base: Base, rows: Sequence[TokenRow], *, max_tokens: int = MAX_TOKENS) -> list[Scored]:
    """Every row's choices scored by the base as it is now (adapters active or not), in the order of `rows`.

    Raises FloatingPointError, naming task and example, for a score that is not finite.
    """
    return queue_scores(base, scoring_batches(rows, base, max_tokens=max_tokens)).scored


def scoring_batches(rows: Sequence[TokenRow], base: Base, *, max_tokens: int = MAX_TOKENS) -> ScoringBatches:
    """The packed batches of `rows`, like lengths together; they serve as often as adapters change."""
    forward_cost = launch_cost(base, 0).forward / 2  # one way only
    packed = base.takes_branches
    sized = [
        (index, packed_length(row), 1) if packed else (index, choice_length(row), len(row.choices))
        for index, row in enumerate(rows)
    ]
    order: list[int] = []
    batches = []
    for length, group in group_by_length(sized, forward_cost=forward_cost, max_tokens=max_tokens):
        each = 1 if packed else max(len(rows[index].choices) for index in group)
        most = max(1, max_tokens // (length * each))
        for start in range(0, len(group), most):
            chunk = group[start : start + most]
            batches.append((pack_rows if packed else pack_choices)([rows[index] for index in chunk]))
            order.extend(chunk)
    return ScoringBatches(tuple(rows), tuple(order), tuple(batches))


class PendingScores:
    """Scores of rows that a device may still be working on; whoever needs them waits for these alone."""

    def __init__(self, layout: ScoringBatches, token_scores: Tensor | None) -> None:
        self._layout: ScoringBatches | None = layout
        self._copies, self._wait = copy_to_host({} if token_scores is None else {"scores": token_scores})

    @cached_property
    def scored(self) -> list[Scored]:
        """The rows in their order; FloatingPointError, naming task and example, where one is not finite."""
        layout = self._layout
        assert layout is not None, "a property that is kept is computed once"
        if not layout.rows:
            return []
        self._wait()
        in_order = _choice_scores(self._copies["scores"].double().tolist(), layout.batches)
        by_index = dict(zip(layout.order, in_order, strict=True))
        scored = [Scored(row, by_index[index]) for index, row in enumerate(layout.rows)]
        for item in scored:
            if not all(math.isfinite(score) for score in item.scores):
                where = f"task {item.row.task!r}, example {item.row.id!r}"
                raise FloatingPointError(f"{where}: a score is not finite: {item.scores}")
        self._layout, self._copies = None, {}  # who keeps the scores need not keep what they were made of
        return scored


def queue_scores(base: Base, layout: ScoringBatches) -> PendingScores:
    """Hand the forwards of these rows to the base's device, with the adapters that are active now."""
    if not layout.rows:
        return PendingScores(layout, None)
    with torch.inference_mode():
        scores = torch.cat([answer_token_scores(base, batch) for batch in layout.batches])
    return PendingScores(layout, scores)


def summarise(scored: Sequence[Scored], metric: str | None = None) -> TaskMetrics:
    """Accuracy, length-normalised accuracy and log-loss of one task's scored rows; of written answers the
    mean by their `metric`.

    The formulas are in docs/method.md, "Evaluation".
    """
    count = len(scored)
    gold_tokens = sum(item.row.scored_tokens[item.row.gold] for item in scored)
    log_loss = sum(item.gold_nll for item in scored) / gold_tokens
    if metric is not None:
        judged = [item.judged for item in scored if item.judged is not None]
        assert len(judged) == count, "every row has its answer"
        return TaskMetrics(
            num_examples=count,
            log_loss=log_loss,
            gold_tokens=gold_tokens,
            metric=metric,
            score=math.fsum(each.value for each in judged) / count,
            unended=sum(each.reason == "length" for each in judged),
        )
    acc_norm = {unit: math.fsum(item.acc_norm(unit) for item in scored) / count for unit in UNITS}
    return TaskMetrics(
        num_examples=count,
        chance=sum(1 / len(item.row.choices) for item in scored) / count,
        majority=majority_rate([item.row for item in scored]),
        acc=math.fsum(item.acc for item in scored) / count,
        acc_norm=acc_norm,
        log_loss=log_loss,
        gold_tokens=gold_tokens,
        ties=sum(item.is_tied for item in scored),
        metric=ACC_NORM,
        score=acc_norm["chars"],
    )


def majority_rate(rows: Sequence[TokenRow]) -> float | None:
    """The share of rows with the commonest gold answer; None unless all rows offer the same answers."""
    if len({frozenset(row.choices) for row in rows}) != 1:
        return None
    golds = Counter(row.choices[row.gold] for row in rows)
    return max(golds.values()) / len(rows)


def _choice_scores(
    token_scores: Sequence[float], batches: Sequence[SharedPrefixBatch]
) -> list[tuple[float, ...]]:
    scores = []
    cursor = 0
    for lengths in (lengths for batch in batches for lengths in batch.choice_lengths):
        sums = []
        for length in lengths:
            sums.append(math.fsum(token_scores[cursor : cursor + length]))
            cursor += length
        scores.append(tuple(sums))
    return scores


def guess_left(scored: Sequence[Scored]) -> float:
    """The mean over rows of -ln p(gold) / ln K, where p is the softmax of a row's K log-likelihoods.

    0: every gold answer is certain; 1: as uncertain as a guess among the choices; above: worse than that.
    """
    shares = []
    for item in scored:
        log_probs_K = torch.tensor(item.scores, dtype=torch.float64).log_softmax(0)
        shares.append(float(-log_probs_K[item.row.gold]) / math.log(len(item.scores)))
    return math.fsum(shares) / len(scored)
