"""Answers read from the prediction table: accuracy by unit, ties, probabilities, unlike rows."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.answers import Answers, gather_answers
from analysis.stats.result_table import Cell, Cost, MethodKey, Run
from portal.evaluate.loglikelihood import Scored, summarise
from portal.results import PREDICTIONS
from tests.support.bases import make_row

CELL = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)


def line(place: int, scores: list[float], gold: int, **values: object) -> dict:
    lengths = {name: [4] * len(scores) for name in ("chars", "bytes", "tokens", "lm_eval_chars")}
    return {
        "run": "r", "task": "t", "epoch": 1, "split": "test", "example": f"{place:05d}",
        "cluster": f"{place}", "scores": scores, "gold": gold, **lengths, **values,
    }  # fmt: skip


def answers_of(lines: list[dict], unit: str = "chars") -> Answers:
    run = Run("r", CELL, 0, Cost(None, None, None, None), unit)
    table = pa.Table.from_pylist(lines, schema=PREDICTIONS)
    return gather_answers(table, {"r": run}, {"r": {"t": 1}})["t"].answers["r"]


@pytest.mark.parametrize(("unit", "expected"), [("chars", 0), ("tokens", 1), ("bytes", 2), ("lm-eval", 0)])
def test_accuracy_divides_by_the_length_its_unit_names(unit: str, expected: int) -> None:
    lengths = {"chars": [13, 5, 5], "bytes": [2, 5, 12], "tokens": [2, 2, 1], "lm_eval_chars": [12, 2, 4]}
    lines = [line(gold, [-6.0, -3.0, -4.0], gold, **lengths) for gold in range(3)]
    assert answers_of(lines, unit).correct.tolist() == [gold == expected for gold in range(3)]


def test_a_tie_counts_as_the_chance_that_a_fair_draw_is_right() -> None:
    tied = answers_of([line(gold, [-4.0, -2.0, -2.0], gold) for gold in range(3)])
    assert tied.correct.tolist() == [0, 0.5, 0.5]
    assert tied.likeliest_correct.tolist() == [0, 0.5, 0.5]


TIES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from([-3.0, -2.1, -1.0]), st.integers(1, 4)), min_size=2, max_size=5),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=20,
)


@given(TIES)
def test_answers_are_as_right_as_the_row_is_where_it_was_scored(
    rows: list[tuple[list[tuple[float, int]], int]],
) -> None:
    scored, lines = [], []
    for place, (choices, gold) in enumerate(rows):
        scores, chars = zip(*choices, strict=True)
        row = make_row((1, 2), ((5,),) * len(scores), gold=gold % len(scores), chars=chars)
        scored.append(Scored(row, scores))
        lines.append(line(place, list(scores), row.gold, chars=list(chars)))

    answers = answers_of(lines)

    assert answers.likeliest_correct.tolist() == [item.acc for item in scored]
    assert answers.correct.tolist() == [item.acc_norm("chars") for item in scored]
    assert summarise(scored).acc == pytest.approx(answers.likeliest_correct.mean())


SCORES = st.lists(st.integers(-960, -1).map(lambda sixteenths: sixteenths / 16), min_size=2, max_size=5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(SCORES, st.integers(0, 4)), min_size=1, max_size=20))
def test_probabilities_are_the_softmax_of_the_scores(rows: list[tuple[list[float], int]]) -> None:
    rows = [(scores, gold % len(scores)) for scores, gold in rows]
    answers = answers_of([line(place, *row) for place, row in enumerate(rows)])
    for place, (scores, gold) in enumerate(rows):
        logs = torch.log_softmax(torch.tensor(scores, dtype=torch.float64), 0).numpy()
        hot = np.eye(len(scores))[gold]
        assert answers.nll[place] == pytest.approx(-logs[gold], abs=1e-9)
        assert answers.brier[place] == pytest.approx(((np.exp(logs) - hot) ** 2).sum(), abs=1e-9)
        assert answers.confidence[place] == pytest.approx(np.exp(logs).max(), abs=1e-9)


def test_only_test_rows_at_the_chosen_epoch_count() -> None:
    right, wrong = [-1.0, -9.0], [-9.0, -1.0]
    lines = [line(0, wrong, 0, epoch=2), line(0, wrong, 0, split="validation"), line(0, right, 0)]
    assert answers_of(lines).correct.tolist() == [True]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="acc_norm unit 'words': known are chars"):
        answers_of([line(0, [-1.0, -2.0], 0)], "words")


def test_a_run_without_predictions_is_named() -> None:
    with pytest.raises(ValueError, match=r"run r: no predictions of task 't' in predictions\.parquet"):
        answers_of([line(0, [-1.0, -2.0], 0, run="another")])


def test_a_written_answer_is_as_right_as_its_metric_says() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    lines = [line(place, [-1.0], 0, tokens=[3], value=value) for place, value in enumerate(values)]
    run = Run("r", CELL, 0, Cost(None, None, None, None), "chars")
    table = pa.Table.from_pylist(lines, schema=PREDICTIONS)
    (task,) = gather_answers(table, {"r": run}, {"r": {"t": 1}}).values()

    assert task.answers["r"].correct.tolist() == values
    assert task.answers["r"].gold_nll.tolist() == [1.0] * 4
    assert not task.has_choices
