"""A launch says what it tried, and why a run has no result."""

from pathlib import Path

import pytest

from portal.cli import main
from portal.config import RunConfig
from sweeps.launch.launch_result import launch_result
from sweeps.store.run_store import RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from tests.support.studies import TINY

DIVERGES = TINY[: TINY.index("methods:")] + "methods: {lora: {size: 8, train: {epochs: 1, lr: 1e38}}}\n"


def the_port(study: Study) -> RunConfig:
    return next(run for run in study.runs if run.method == "portal")


def test_a_run_that_fails_at_once_was_tried_and_a_second_launch_tries_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(DIVERGES.replace("seeds: [0, 1]", "seeds: [0]"))
    command = ["sweep", "run", str(path), "--out", str(tmp_path / "out"), "--executor", "local"]

    assert main(command) == 3
    first = capsys.readouterr().out
    assert main(command) == 3

    assert first == "study tiny: 0 of 1 runs done, none trained now, 1 failed now\n"
    assert capsys.readouterr().out == "study tiny: 0 of 1 runs done, nothing was left to train\n"


def test_counts_are_those_of_the_runs_that_the_launch_tried(tiny_study: Study, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    done, failed, lost, failed_before = (run.key for run in tiny_study.runs[:4])
    store.run_folder(done).mkdir(parents=True)
    store.mark_done(done)
    for key in (failed, failed_before):
        store.mark_failed(key, "diverged", tmp_path / "log")

    status = StudyStatus.read(store, tiny_study.runs)
    found = launch_result(
        tiny_study, status, tried=[done, failed, lost], cause="gone", log=tmp_path / "log", wall_s=1.0
    )

    assert (found.total, found.done, found.tried, found.trained, found.failed) == (9, 1, 3, 1, 1)
    assert not found.is_done
    assert found.summary == "1 trained now, 1 failed now"
    assert {failure.run: failure.cause for failure in found.failures}[lost] == "gone"


def test_a_port_without_a_result_names_its_source_run_only_where_the_study_has_that_run(
    tiny_study: Study, tmp_path: Path
) -> None:
    store, port = RunStore(tmp_path), the_port(tiny_study)
    assert port.source is not None
    store.mark_failed(port.source, "diverged", tmp_path / "log")
    elsewhere = Study(tiny_study.settings, tiny_study.suite, tiny_study.tasks, tiny_study.tasks, (port,), {})

    def cause_of_port(study: Study) -> str:
        status = StudyStatus.read(store, study.runs)
        found = launch_result(study, status, tried=[], cause="gone", log=tmp_path, wall_s=1.0)
        return next(failure.cause for failure in found.failures if failure.run == port.key)

    assert cause_of_port(tiny_study) == f"its source run {port.source} failed"
    assert cause_of_port(elsewhere) == "gone"
