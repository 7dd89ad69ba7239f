"""Answers with their texts: of choices by the questions, of written answers by their own table."""

import pyarrow as pa

from analysis.stats.result_table import Cell, Cost, MethodKey, Run
from analysis.stats.shown_answers import ShownAnswer, ShownAnswers
from portal.results import GENERATIONS, PREDICTIONS
from portal.run_details import Question

CELL = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)
RUNS = {"r": Run("r", CELL, 0, Cost(None, None, None, None), "chars")}
LENGTHS = {name: [4, 4] for name in ("chars", "bytes", "tokens", "lm_eval_chars")}
CHOICE = {
    "run": "r", "task": "quiz", "epoch": 1, "split": "test", "example": "1", "cluster": "1",
    "scores": [-3.0, -1.0], "gold": 0, "value": None, **LENGTHS,
}  # fmt: skip
WRITTEN = {
    "run": "r", "task": "sum up", "epoch": 1, "split": "test", "example": "2", "base": "big",
    "prompt": "a text", "references": ["short", "brief"], "text": "long", "tokens": 1, "reason": "end",
    "metric": "rouge_l", "value": 0.25, "error": None,
}  # fmt: skip


def shown(questions: dict[tuple[str, str], Question], *written: dict) -> ShownAnswers:
    return ShownAnswers(
        pa.Table.from_pylist([CHOICE], schema=PREDICTIONS),
        pa.Table.from_pylist(list(written), schema=GENERATIONS),
        questions,
        RUNS,
        {"r": {"quiz": 1, "sum up": 1}},
    )


def test_choices_have_their_texts_and_written_answers_theirs() -> None:
    found = shown({("quiz", "1"): Question("who?", (" me", " you"))}, WRITTEN)

    assert found.of("r") == {
        ("quiz", "1"): ShownAnswer("quiz", "1", "who?", "me", "you", 0.0, -0.5),
        ("sum up", "2"): ShownAnswer("sum up", "2", "a text", "short", "long", 0.25),
    }
    assert found.count_wrong("r") == (2, 2)
    assert [each.task for each in found.worst("r", 9)] == ["quiz", "sum up"]
    assert [each.task for each in found.worst("r", 1)] == ["quiz"]


def test_many_wrong_choices_leave_room_for_written_answers_and_the_other_way_round() -> None:
    choices = [{**CHOICE, "example": f"{place}"} for place in range(8)]
    written = [{**WRITTEN, "example": f"{place}", "value": place / 10} for place in range(8)]

    def kinds(num_choices: int, num_written: int, most: int) -> str:
        found = ShownAnswers(
            pa.Table.from_pylist(choices[:num_choices], schema=PREDICTIONS),
            pa.Table.from_pylist(written[:num_written], schema=GENERATIONS),
            {},
            RUNS,
            {"r": {"quiz": 1, "sum up": 1}},
        )
        return "".join(each.task[0] for each in found.worst("r", most))

    assert kinds(8, 8, 6) == "qqqsss"
    assert kinds(8, 1, 6) == "qqqqqs"
    assert kinds(1, 8, 6) == "qsssss"
    assert kinds(8, 0, 6) == "qqqqqq"
    assert kinds(0, 8, 6) == "ssssss"
    assert kinds(2, 2, 6) == "qqss"


def test_answers_of_other_epochs_splits_and_runs_are_left_out() -> None:
    others = [
        {**WRITTEN, "epoch": 0},
        {**WRITTEN, "split": "validation"},
        {**WRITTEN, "run": "other"},
        {**WRITTEN, "value": 1.0},
    ]
    found = shown({}, *others)

    assert found.count_wrong("r") == (1, 2)
    assert found.count_wrong("other") == (0, 0)


def test_a_question_that_is_not_known_leaves_numbers_of_choices() -> None:
    (answer,) = shown({}).of("r").values()

    assert (answer.prompt, answer.right, answer.text) == ("", "choice 1", "choice 2")


def test_a_study_without_either_table_has_no_answers() -> None:
    found = ShownAnswers(None, None, {}, RUNS, {"r": {"quiz": 1}})

    assert found.of("r") == {}
