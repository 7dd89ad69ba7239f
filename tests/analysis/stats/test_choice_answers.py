"""Answers row by row agree with the means of the report, and the worst are those furthest off."""

import numpy as np
import pyarrow as pa
import pytest

from analysis.stats.answers import gather_answers
from analysis.stats.choice_answers import ChoiceAnswer, ChoiceAnswers
from analysis.stats.result_table import Cell, Cost, MethodKey, Run
from portal.results import PREDICTIONS

CELL = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)
EPOCHS = {"a": {"t": 1, "u": 2}, "b": {"t": 1, "u": 1}}


def run(key: str, unit: str = "chars") -> Run:
    return Run(key, CELL, 0, Cost(None, None, None, None), unit)


RUNS = {"a": run("a"), "b": run("b", "tokens")}


def line(
    key: str, task: str, epoch: int, place: int, scores: list[float], gold: int, **values: object
) -> dict:
    lengths = {name: [4] * len(scores) for name in ("chars", "bytes", "tokens", "lm_eval_chars")}
    return {
        "run": key, "task": task, "epoch": epoch, "split": "test", "example": f"{place:05d}",
        "cluster": f"{place}", "scores": scores, "gold": gold, **lengths, **values,
    }  # fmt: skip


def answers(lines: list[dict]) -> ChoiceAnswers:
    return ChoiceAnswers(pa.Table.from_pylist(lines, schema=PREDICTIONS), RUNS, EPOCHS)


def test_each_run_divides_by_the_lengths_of_its_own_unit() -> None:
    lengths = {"chars": [8, 2], "tokens": [1, 2]}
    found = answers([line(key, "t", 1, 0, [-4.0, -2.0], 0, **lengths) for key in ("a", "b")])

    (by_chars,), (by_tokens,) = found.of("a"), found.of("b")
    assert by_chars == ChoiceAnswer("t", "00000", 0, 0, 1.0, 0.5)
    assert by_tokens == ChoiceAnswer("t", "00000", 0, 1, 0.0, -3.0)


def test_only_rows_of_the_chosen_epoch_with_choices_are_there() -> None:
    lines = [
        line("a", "t", 1, 0, [-1.0, -2.0], 0), line("a", "t", 2, 0, [-2.0, -1.0], 0),
        line("a", "u", 2, 0, [-1.0, -2.0, -3.0], 2), line("a", "u", 2, 1, [-1.0], 0, value=0.5),
    ]  # fmt: skip
    found = answers(lines)

    assert [(each.task, each.picked, each.worth) for each in found.of("a")] == [("t", 0, 1.0), ("u", 0, 0.0)]
    assert found.count_wrong("a") == (1, 2)
    assert found.count_wrong("b") == (0, 0)


@pytest.mark.parametrize(("gold", "picked"), [(2, 0), (0, 2)])
def test_a_tie_is_worth_its_share_and_names_the_other_choice(gold: int, picked: int) -> None:
    (answer,) = answers([line("a", "t", 1, 0, [-2.0, -4.0, -2.0], gold)]).of("a")

    assert (answer.picked, answer.worth, answer.lead) == (picked, 0.5, 0.0)


def test_the_worst_are_the_wrong_ones_that_are_furthest_off() -> None:
    golds = [-1.0, -9.0, -3.0, -2.5]
    found = answers([line("a", "t", 1, place, [gold, -2.0], 0) for place, gold in enumerate(golds)])

    assert [each.example for each in found.worst("a", 2)] == ["00001", "00002"]
    assert [each.lead for each in found.worst("a", 9)] == pytest.approx([-1.75, -0.25, -0.125])


def test_worths_are_those_that_accuracy_counts() -> None:
    generator = np.random.default_rng(0)
    lines = []
    for place in range(200):
        scores = generator.choice([-3.0, -2.0, -1.0], size=generator.integers(2, 6)).tolist()
        lengths = {name: generator.integers(1, 4, len(scores)).tolist() for name in ("chars", "tokens")}
        gold = int(generator.integers(len(scores)))
        lines += [line(key, "t", 1, place, scores, gold, **lengths) for key in RUNS]
    gathered = gather_answers(
        pa.Table.from_pylist(lines, schema=PREDICTIONS), RUNS, {key: {"t": 1} for key in RUNS}
    )

    for key in RUNS:
        assert [each.worth for each in answers(lines).of(key)] == gathered["t"].answers[key].correct.tolist()


def test_without_rows_there_is_nothing() -> None:
    found = answers([])

    assert list(found.of("a")) == found.worst("a", 3) == []
    assert found.count_wrong("a") == (0, 0)
