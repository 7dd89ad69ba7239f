"""Rows of a run in training are those of its evaluations so far; of a finished run, those of its table."""

from pathlib import Path

from portal.results import RESULTS, RESULTS_FILE, read_table
from sweeps.results.live import evaluated_parts, live_rows
from sweeps.store.run_store import RunStore

DONE, TRAINING = "038beb859521b178", "7219f18ec0650f65"


def test_a_run_in_training_has_the_rows_of_its_evaluations_so_far(out: Path) -> None:
    rows = list(live_rows(RunStore(out), TRAINING))

    assert evaluated_parts(RunStore(out))[TRAINING] == 3
    assert sorted({row["epoch"] for row in rows}) == [0, 1, 2]
    assert {row["run"] for row in rows} == {TRAINING}


def test_a_finished_run_has_the_rows_of_its_table_and_no_parts(out: Path) -> None:
    table = read_table(RunStore(out).run_folder(DONE) / RESULTS_FILE, RESULTS)

    assert list(live_rows(RunStore(out), DONE)) == table.to_pylist()
    assert list(live_rows(RunStore(out), DONE, ["epoch"])) == table.select(["epoch"]).to_pylist()
    assert DONE not in evaluated_parts(RunStore(out))


def test_a_run_that_has_not_begun_has_no_rows(out: Path) -> None:
    assert list(live_rows(RunStore(out), "0" * 16)) == []
