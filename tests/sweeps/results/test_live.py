"""Rows of a run in training are those of its evaluations so far; of a finished run, those of its table.

Validation scores are means over tasks, then over runs, of the epochs that every run has scored.
"""

from pathlib import Path

import pytest

from portal.results import RESULTS, RESULTS_FILE, read_table
from sweeps.results.live import evaluated_parts, live_rows, validation_values
from sweeps.store.run_store import RunStore
from sweeps.study.manifest import StudyManifest

DONE, TRAINING = "93a9e0266de26504", "7a71f53b9f2e0645"


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


def mean_of(out: Path, key: str, epoch: int) -> float:
    rows = read_table(RunStore(out).run_folder(key) / RESULTS_FILE, RESULTS).to_pylist()
    values = [row["acc_norm"] for row in rows if (row["split"], row["epoch"]) == ("validation", epoch)]
    return sum(values) / len(values)


def test_values_are_means_of_the_runs_task_means(out: Path, manifest: StudyManifest) -> None:
    loras = [run for run in manifest.runs if run.method == "lora" and run.bases[0].name == "mini-qwen3-s"]
    assert len(loras) == 2

    values = validation_values(RunStore(out), loras, "acc_norm")
    assert sorted(values) == [0, 1, 2, 3]
    for epoch, value in values.items():
        assert value == pytest.approx(sum(mean_of(out, run.key, epoch) for run in loras) / 2)


def test_an_epoch_that_one_run_has_not_scored_yet_has_no_value(out: Path, manifest: StudyManifest) -> None:
    port = next(run for run in manifest.runs if run.method == "portal")
    hypernet = next(run for run in manifest.runs if run.method == "hypernet")

    assert sorted(validation_values(RunStore(out), [hypernet], "acc_norm")) == [0, 1, 2, 3, 4]
    assert sorted(validation_values(RunStore(out), [hypernet, port], "acc_norm")) == [0, 1, 2]
