"""Packed scoring equals one row per choice, and never returns a number that is not one.

What is left of a guess's uncertainty is 0 for certain gold answers and 1 for a guess.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from portal.bases.base import Base
from portal.evaluate.loglikelihood import (
    Scored,
    TaskMetrics,
    guess_left,
    queue_scores,
    score_rows,
    scoring_batches,
    summarise,
)
from portal.forward.adapter_hooks import AdapterHooks, Segment
from tests.support.bases import make_base, make_row, make_rows, random_factors
from tests.support.scoring import LABELS, NAMED_ROWS, score_one_by_one


def test_rows_of_text_score_as_one_row_a_choice(any_base: Base) -> None:
    for item in score_rows(any_base, make_rows(any_base, count=4).rows("names", "test")):
        assert item.scores == pytest.approx(score_one_by_one(any_base, item.row), abs=1e-4)
    # distinct scores, so that agreement means something
    scores = [score for item in score_rows(any_base, NAMED_ROWS) for score in item.scores]
    assert len({round(score, 3) for score in scores}) == len(scores)


def test_a_score_that_is_not_finite_raises_naming_task_and_example() -> None:
    base = make_base("tiny", "qwen3")
    base.model.get_input_embeddings().weight.data[99] = math.nan
    bad = make_row((5, 99), ((6,), (7,)), task="sums", name="bad one")
    assert len(score_rows(base, NAMED_ROWS)) == len(NAMED_ROWS)
    with pytest.raises(FloatingPointError, match="task 'sums', example 'bad one': a score is not finite"):
        score_rows(base, [*NAMED_ROWS, bad])

    base.model.lm_head = torch.nn.Linear(24, 128)
    base.model.lm_head.bias.data[10] = -math.inf
    with pytest.raises(FloatingPointError, match="example 'single tokens': a score is not finite"):
        score_rows(base, [LABELS])


def test_scoring_leaves_the_base_as_it_was_and_no_rows_score_to_nothing(any_base: Base) -> None:
    before = {name: tensor.clone() for name, tensor in any_base.model.state_dict().items()}

    assert score_rows(any_base, NAMED_ROWS) == score_rows(any_base, NAMED_ROWS)
    assert all(torch.equal(before[name], tensor) for name, tensor in any_base.model.state_dict().items())
    assert score_rows(any_base, []) == []


def test_rows_laid_out_once_are_scored_by_whatever_adapters_are_active(any_base: Base) -> None:
    layout = scoring_batches(NAMED_ROWS, any_base, max_tokens=100)
    segment = Segment(1, random_factors(any_base, ("q", "v"), rank=2, slots=1, seed=0), 1.0)

    plain = queue_scores(any_base, layout).scored
    with AdapterHooks(any_base.model, any_base.sites).active([segment]):
        adapted = queue_scores(any_base, layout).scored
        expected = [score_one_by_one(any_base, row) for row in NAMED_ROWS]

    assert len(layout.batches) > 1
    assert queue_scores(any_base, layout).scored == plain
    for item, scores in zip(adapted, expected, strict=True):
        assert item.scores == pytest.approx(scores, abs=1e-4)
    assert adapted != plain


def scored(*scores: float, gold: int = 0, chars: tuple[int, ...] | None = None) -> Scored:
    choices = tuple((5,) * (index + 1) for index in range(len(scores)))
    return Scored(make_row((1, 2), choices, gold=gold, chars=chars), scores)


def test_a_tie_counts_as_the_chance_that_a_fair_draw_is_right() -> None:
    for gold, share in ((0, 0.0), (1, 0.5), (2, 0.5)):
        assert scored(-2.0, -1.0, -1.0, gold=gold).acc == share
        assert scored(-2.0, -1.0, -1.0, gold=gold, chars=(4, 1, 1)).acc_norm("chars") == (gold == 0)
        assert scored(-9.0, -2.0, -4.0, gold=gold, chars=(3, 1, 2)).acc_norm("chars") == share
    tied = [scored(-1.0, -1.0, -1.0, -3.0, gold=gold, chars=(1, 1, 1, 3)) for gold in range(4)]
    assert [item.acc for item in tied] == [1 / 3, 1 / 3, 1 / 3, 0.0]
    assert [item.acc_norm("chars") for item in tied] == [1 / 4] * 4
    # scores are compared as the table of predictions has them
    nearly = scored(-1.0, -1.0 - 1e-12)
    assert (nearly.is_tied, nearly.acc, nearly.acc_norm("bytes")) == (True, 0.5, 0.0)


@given(st.lists(st.floats(-40, -0.125, width=32), min_size=2, max_size=5, unique=True), st.integers(0, 4))
def test_where_no_two_choices_tie_a_row_is_right_or_wrong_as_argmax_says(
    scores: list[float], gold: int
) -> None:
    gold %= len(scores)

    assert scored(*scores, gold=gold).acc == float(np.argmax(scores) == gold)


def test_a_summary_is_what_one_works_out_by_hand() -> None:
    rows = [
        scored(-1.0, -3.0, gold=0, chars=(1, 4)),  # raw right, normalised wrong; gold of 1 token
        scored(-4.0, -2.0, gold=1, chars=(1, 1)),  # both right; gold of 2 tokens
        scored(-1.0, -1.0, -9.0, -9.5, gold=2, chars=(1, 1, 1, 1)),  # both wrong; gold of 3 tokens
    ]
    shares = {"chars": 1 / 3, "bytes": 1 / 3, "tokens": 2 / 3, "lm-eval": 1 / 3}

    assert summarise(rows) == TaskMetrics(
        num_examples=3,
        chance=pytest.approx((1 / 2 + 1 / 2 + 1 / 4) / 3),
        majority=None,
        acc=pytest.approx(2 / 3),
        acc_norm={unit: pytest.approx(share) for unit, share in shares.items()},
        log_loss=pytest.approx((1.0 + 2.0 + 9.0) / 6),
        gold_tokens=6,
        ties=1,
        metric="acc_norm",
        score=pytest.approx(1 / 3),
        unended=0,
    )


def test_guesses_leave_everything_and_certain_answers_nothing_whatever_the_number_of_choices() -> None:
    assert guess_left([scored(0.0, -100.0, -100.0)]) == pytest.approx(0.0, abs=1e-12)
    assert guess_left([scored(-7.0, -7.0), scored(-2.0, -2.0, -2.0, -2.0)]) == pytest.approx(1.0)
    assert guess_left([scored(-9.0, -1.0)]) > 1
    two, four = scored(-1.0, -2.0), scored(-1.0, -1.5, -4.0, -3.0, gold=1)
    by_hand = [
        math.log(sum(math.exp(x) for x in item.scores)) - item.scores[item.row.gold] for item in (two, four)
    ]
    mean = (by_hand[0] / math.log(2) + by_hand[1] / math.log(4)) / 2
    assert guess_left([two, four]) == pytest.approx(mean)
