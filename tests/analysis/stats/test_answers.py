"""Answers of the prediction table: accuracy by unit, ties, probabilities, the worst rows and their texts."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.answers import (
    Answers,
    ChoiceAnswer,
    ChoiceAnswers,
    ShownAnswer,
    ShownAnswers,
    gather_answers,
)
from analysis.stats.result_table import Cell, Cost, MethodKey, Run
from portal.evaluate.loglikelihood import Scored, summarise
from portal.results import GENERATIONS, PREDICTIONS, Question
from tests.support.bases import make_row

CELL = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)


def run(key: str, unit: str = "chars") -> Run:
    return Run(key, CELL, 0, Cost(None, None, None, None), unit)


def line(place: int, scores: list[float], gold: int, **values: object) -> dict:
    """A prediction of run `r` on task `t` at epoch 1."""
    lengths = {name: [4] * len(scores) for name in ("chars", "bytes", "tokens", "lm_eval_chars")}
    return {
        "run": "r", "task": "t", "epoch": 1, "split": "test", "example": f"{place:05d}",
        "cluster": f"{place}", "scores": scores, "gold": gold, **lengths, **values,
    }  # fmt: skip


def predictions(lines: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(lines, schema=PREDICTIONS)


def answers_of(lines: list[dict], unit: str = "chars") -> Answers:
    return gather_answers(predictions(lines), {"r": run("r", unit)}, {"r": {"t": 1}})["t"].answers["r"]


@pytest.mark.parametrize(("unit", "expected"), [("chars", 0), ("tokens", 1), ("bytes", 2), ("lm-eval", 0)])
def test_accuracy_divides_by_the_length_its_unit_names(unit: str, expected: int) -> None:
    lengths = {"chars": [13, 5, 5], "bytes": [2, 5, 12], "tokens": [2, 2, 1], "lm_eval_chars": [12, 2, 4]}
    lines = [line(gold, [-6.0, -3.0, -4.0], gold, **lengths) for gold in range(3)]

    assert answers_of(lines, unit).correct.tolist() == [gold == expected for gold in range(3)]


def test_a_tie_counts_as_the_chance_that_a_fair_draw_is_right() -> None:
    tied = answers_of([line(gold, [-4.0, -2.0, -2.0], gold) for gold in range(3)])

    assert tied.correct.tolist() == tied.likeliest_correct.tolist() == [0, 0.5, 0.5]


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
    shown = ChoiceAnswers(predictions(lines), {"r": run("r")}, {"r": {"t": 1}})
    assert [each.worth for each in shown.of("r")] == answers.correct.tolist()


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


def test_an_unknown_unit_and_a_run_without_predictions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="acc_norm unit 'words': known are chars"):
        answers_of([line(0, [-1.0, -2.0], 0)], "words")
    with pytest.raises(ValueError, match=r"run r: no predictions of task 't' in predictions\.parquet"):
        answers_of([line(0, [-1.0, -2.0], 0, run="another")])


def test_a_written_answer_is_as_right_as_its_metric_says() -> None:
    values = [0.0, 0.25, 1.0, 0.5]
    lines = [line(place, [-1.0], 0, tokens=[3], value=value) for place, value in enumerate(values)]
    (task,) = gather_answers(predictions(lines), {"r": run("r")}, {"r": {"t": 1}}).values()

    assert task.answers["r"].correct.tolist() == values
    assert task.answers["r"].gold_nll.tolist() == [1.0] * 4
    assert not task.has_choices


def choices(lines: list[dict]) -> ChoiceAnswers:
    """Of run `a`, and of `b`, whose unit is tokens and which reports another epoch of task `u`."""
    epochs = {"a": {"t": 1, "u": 2}, "b": {"t": 1, "u": 1}}
    return ChoiceAnswers(predictions(lines), {"a": run("a"), "b": run("b", "tokens")}, epochs)


def test_each_run_divides_by_the_lengths_of_its_own_unit() -> None:
    lengths = {"chars": [8, 2], "tokens": [1, 2]}
    found = choices([line(0, [-4.0, -2.0], 0, run=key, **lengths) for key in ("a", "b")])

    assert [*found.of("a")] == [ChoiceAnswer("t", "00000", 0, 0, 1.0, 0.5)]
    assert [*found.of("b")] == [ChoiceAnswer("t", "00000", 0, 1, 0.0, -3.0)]


def test_only_rows_of_the_chosen_epoch_with_choices_are_there() -> None:
    in_u = {"run": "a", "task": "u", "epoch": 2}
    found = choices(
        [
            line(0, [-1.0, -2.0], 0, run="a"),
            line(0, [-2.0, -1.0], 0, run="a", epoch=2),
            line(0, [-1.0, -2.0, -3.0], 2, **in_u),
            line(1, [-1.0], 0, value=0.5, **in_u),
        ]
    )

    assert [(each.task, each.picked, each.worth) for each in found.of("a")] == [("t", 0, 1.0), ("u", 0, 0.0)]
    assert (found.count_wrong("a"), found.count_wrong("b")) == ((1, 2), (0, 0))
    assert list(found.of("b")) == found.worst("b", 3) == []


def test_a_tie_is_worth_its_share_and_names_the_other_choice() -> None:
    for gold, picked in ((2, 0), (0, 2)):
        (answer,) = choices([line(0, [-2.0, -4.0, -2.0], gold, run="a")]).of("a")
        assert (answer.picked, answer.worth, answer.lead) == (picked, 0.5, 0.0)


def test_the_worst_are_the_wrong_ones_that_are_furthest_off() -> None:
    golds = (-1.0, -9.0, -3.0, -2.5)
    found = choices([line(place, [gold, -2.0], 0, run="a") for place, gold in enumerate(golds)])

    assert [each.example for each in found.worst("a", 2)] == ["00001", "00002"]
    assert [each.lead for each in found.worst("a", 9)] == pytest.approx([-1.75, -0.25, -0.125])


CHOICE = line(1, [-3.0, -1.0], 0, task="quiz", example="1")
WRITTEN = {
    "run": "r", "task": "sum up", "epoch": 1, "split": "test", "example": "2", "base": "big",
    "prompt": "a text", "references": ["short", "brief"], "text": "long", "tokens": 1, "reason": "end",
    "metric": "rouge_l", "value": 0.25, "error": None,
}  # fmt: skip


def shown(
    chosen: list[dict], written: list[dict], questions: dict[tuple[str, str], Question] | None = None
) -> ShownAnswers:
    generations = pa.Table.from_pylist(written, schema=GENERATIONS)
    epochs = {"r": {"quiz": 1, "sum up": 1}}
    return ShownAnswers(predictions(chosen), generations, questions or {}, {"r": run("r")}, epochs)


def test_choices_have_their_texts_and_written_answers_theirs() -> None:
    found = shown([CHOICE], [WRITTEN], {("quiz", "1"): Question("who?", (" me", " you"))})

    assert found.of("r") == {
        ("quiz", "1"): ShownAnswer("quiz", "1", "who?", "me", "you", 0.0, -0.5),
        ("sum up", "2"): ShownAnswer("sum up", "2", "a text", "short", "long", 0.25),
    }
    assert found.count_wrong("r") == (2, 2)
    assert [each.task for each in found.worst("r", 9)] == ["quiz", "sum up"]
    assert [each.task for each in found.worst("r", 1)] == ["quiz"]


def test_many_wrong_choices_leave_room_for_written_answers_and_the_other_way_round() -> None:
    chosen = [{**CHOICE, "example": f"{place}"} for place in range(8)]
    written = [{**WRITTEN, "example": f"{place}", "value": place / 10} for place in range(8)]
    for num_choices, num_written, kinds in (
        (8, 8, "qqqsss"),
        (8, 1, "qqqqqs"),
        (1, 8, "qsssss"),
        (8, 0, "qqqqqq"),
        (0, 8, "ssssss"),
        (2, 2, "qqss"),
    ):
        found = shown(chosen[:num_choices], written[:num_written])
        assert "".join(each.task[0] for each in found.worst("r", 6)) == kinds


def test_answers_of_other_epochs_splits_and_runs_are_left_out() -> None:
    others = ({"epoch": 0}, {"split": "validation"}, {"run": "other"}, {"value": 1.0})
    found = shown([CHOICE], [{**WRITTEN, **other} for other in others])

    assert (found.count_wrong("r"), found.count_wrong("other")) == ((1, 2), (0, 0))


def test_an_unknown_question_leaves_numbers_of_choices_and_a_study_without_tables_has_no_answers() -> None:
    (answer,) = shown([CHOICE], []).of("r").values()

    assert (answer.prompt, answer.right, answer.text) == ("", "choice 1", "choice 2")
    assert ShownAnswers(None, None, {}, {"r": run("r")}, {"r": {"quiz": 1}}).of("r") == {}
