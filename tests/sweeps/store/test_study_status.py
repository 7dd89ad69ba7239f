"""Every run of a study is in one group, and a run without a result says why."""

from pathlib import Path

import pytest

from portal.config import RunConfig
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunFailure, StudyStatus
from tests.support.bases import make_run


@pytest.fixture
def runs() -> list[RunConfig]:
    return [make_run("lora", "a").model_copy(update={"seed": seed}) for seed in range(5)]


def finish(store: RunStore, run: RunConfig) -> None:
    store.write_run(run)
    store.mark_done(run.key)


def test_every_run_is_in_one_group_in_the_order_of_the_study(tmp_path: Path, runs: list[RunConfig]) -> None:
    store = RunStore(tmp_path)
    done, failed, lost, training, missing = runs
    finish(store, done)
    store.mark_failed(failed.key, "the loss is nan", tmp_path / "lane-0.log")
    store.mark_failed(lost.key, "its worker died", tmp_path / "lane-1.log", lost=True)
    Session(tmp_path, "0" * 16).write_progress(0, {"runs": {training.key: [3, 9], done.key: [9, 9]}})

    with acquire(tmp_path):
        status = StudyStatus.read(store, runs)
    assert status == StudyStatus(
        done=(done.key,),
        running=(training.key,),
        failed={
            failed.key: RunFailure("the loss is nan", str(tmp_path / "lane-0.log")),
            lost.key: RunFailure("its worker died", str(tmp_path / "lane-1.log"), lost=True),
        },
        missing=(missing.key,),
    )
    assert status.counts == {
        "total": 5,
        "done": 1,
        "running": 1,
        "failed": 2,
        "paused": 0,
        "stopped": 0,
        "missing": 1,
    }
    assert status.failed_for_good == (failed.key,)


def test_progress_that_a_dead_driver_left_counts_for_nothing(tmp_path: Path, runs: list[RunConfig]) -> None:
    store = RunStore(tmp_path)
    Session(tmp_path, "0" * 16).write_progress(0, {"runs": {runs[0].key: [3, 9]}})

    assert StudyStatus.read(store, runs).missing == tuple(run.key for run in runs)


def test_a_run_that_was_done_after_a_failure_is_done(tmp_path: Path, runs: list[RunConfig]) -> None:
    store = RunStore(tmp_path)
    finish(store, runs[0])
    store.mark_failed(runs[0].key, "an older launch", tmp_path / "log")

    assert StudyStatus.read(store, runs[:1]).counts == {
        "total": 1, "done": 1, "running": 0, "failed": 0, "paused": 0, "stopped": 0, "missing": 0,
    }  # fmt: skip


def test_runs_of_another_study_in_the_folder_are_not_counted(tmp_path: Path, runs: list[RunConfig]) -> None:
    store = RunStore(tmp_path)
    finish(store, runs[0])

    assert StudyStatus.read(store, runs[1:]).counts["done"] == 0


def test_a_run_whose_source_failed_says_so_and_names_the_log(tmp_path: Path, runs: list[RunConfig]) -> None:
    store = RunStore(tmp_path)
    source = runs[0]
    port = make_run("portal", "b").model_copy(update={"source": source.key})
    store.mark_failed(source.key, "the loss is nan", tmp_path / "lane-0.log")

    status = StudyStatus.read(store, [source, port, runs[1]])
    assert status.why_absent(source) == RunFailure("the loss is nan", str(tmp_path / "lane-0.log"))
    assert status.why_absent(port) == RunFailure(
        f"its source run {source.key} failed", str(tmp_path / "lane-0.log")
    )
    assert status.why_absent(runs[1]) is None


def test_a_run_says_so_as_well_when_the_source_of_its_source_failed(tmp_path: Path) -> None:
    store, source = RunStore(tmp_path), make_run("source", "a")
    port = make_run("portal", "b", source=source.key)
    second = make_run("portal", "c", source=port.key)
    store.mark_failed(source.key, "the loss is nan", tmp_path / "lane-0.log")

    status = StudyStatus.read(store, [source, port, second])

    assert status.stopped_by == {port.key: source.key, second.key: source.key}
    assert status.why_absent(second) == status.why_absent(port)
    assert status.trainable([source, port, second]) == ()


def test_a_failure_marker_without_a_cause_is_refused_by_its_folder(
    tmp_path: Path, runs: list[RunConfig]
) -> None:
    store = RunStore(tmp_path)
    store.run_folder(runs[0].key).mkdir(parents=True)
    (store.run_folder(runs[0].key) / "FAILED.json").write_text("{}")

    with pytest.raises(ValueError, match=rf"{runs[0].key}: its failure's marker lacks 'cause'"):
        StudyStatus.read(store, runs)


def test_a_refreshed_status_is_that_of_now(tmp_path: Path, runs: list[RunConfig]) -> None:
    store, (first, second, third) = RunStore(tmp_path), runs[:3]
    finish(store, second)
    before = StudyStatus.read(store, runs)
    finish(store, first)
    store.mark_failed(third.key, "diverged", tmp_path / "log")

    assert before.done == (second.key,)
    assert before.refreshed(store, runs) == StudyStatus.read(store, runs)
    assert before.refreshed(store, runs).done == (first.key, second.key)


def test_a_failure_stops_what_starts_from_the_run_and_a_lost_worker_only_the_launch_that_lost_it(
    tmp_path: Path, runs: list[RunConfig]
) -> None:
    store, (done, failed, lost, other) = RunStore(tmp_path), runs[:4]
    child = make_run("portal", "a").model_copy(update={"source": failed.key})
    finish(store, done)
    store.mark_failed(failed.key, "diverged", tmp_path / "log")
    store.mark_failed(lost.key, "its worker died", tmp_path / "log", lost=True)
    all_runs = [*runs[:4], child]

    status = StudyStatus.read(store, all_runs)

    assert status.trainable(all_runs) == (lost.key, other.key)
    assert status.trainable(all_runs, lost_too=False) == (other.key,)
