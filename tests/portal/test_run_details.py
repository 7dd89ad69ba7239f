"""Tables of single runs are read as they were written, and their absence is no error."""

from pathlib import Path

import pyarrow as pa
import pytest

from portal.results import write_table
from portal.run_details import (
    LOSSES,
    LOSSES_FILE,
    QUESTIONS,
    QUESTIONS_FILE,
    RUNS,
    RUNS_FILE,
    Question,
    RunDetail,
    read_questions,
    read_run_details,
)

SETTINGS = {"method": "portal", "seed": 0, "bases": [{"name": "big"}]}
DONE = RunDetail(
    "b" * 16, "half", "portal big s0", "done", None, {**SETTINGS, "train": {"lr": 1e-3}}, "cpu", 2,
    ("plain",), 10**9, ("one", "two"), ((10, 2.5), (20, 1.5)),
)  # fmt: skip
FAILED = RunDetail("a" * 16, "lora", "lora big s0", "failed", "the loss is nan", SETTINGS)


def test_runs_come_back_in_their_order_with_their_losses(tmp_path: Path) -> None:
    rows = [DONE.row(), FAILED.row()]
    write_table(pa.Table.from_pylist(rows, schema=RUNS), tmp_path / RUNS_FILE)
    losses = [{"run": DONE.run, "step": step, "loss": loss} for step, loss in DONE.losses]
    write_table(pa.Table.from_pylist(losses, schema=LOSSES), tmp_path / LOSSES_FILE)

    assert list(read_run_details(tmp_path).items()) == [(DONE.run, DONE), (FAILED.run, FAILED)]


def test_questions_come_back_by_task_and_example(tmp_path: Path) -> None:
    row = {"task": "t", "example": "e", "prompt": "who?", "choices": [" me", " you"]}
    write_table(pa.Table.from_pylist([row], schema=QUESTIONS), tmp_path / QUESTIONS_FILE)

    assert read_questions(tmp_path) == {("t", "e"): Question("who?", (" me", " you"))}


def test_a_folder_without_the_tables_tells_nothing(tmp_path: Path) -> None:
    assert read_run_details(tmp_path) == {}
    assert read_questions(tmp_path) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"run": "../../etc/x"},
        {"run": None},
        {"run": "A" * 16},
        {"state": "dancing"},
        {"settings": "{"},
        {"settings": "[]"},
        {"settings": "{}"},
        {"settings": '{"method": 1, "seed": 0, "bases": []}'},
        {"label": None},
    ],
)
def test_a_row_that_no_study_has_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_table(pa.Table.from_pylist([{**DONE.row(), **change}], schema=RUNS), tmp_path / RUNS_FILE)

    with pytest.raises(ValueError, match=r"runs\.parquet: not a table that portal wrote"):
        read_run_details(tmp_path)


def test_another_table_of_that_name_is_refused(tmp_path: Path) -> None:
    write_table(QUESTIONS.empty_table(), tmp_path / RUNS_FILE)

    with pytest.raises(ValueError, match=r"runs\.parquet: columns differ from schema version"):
        read_run_details(tmp_path)
