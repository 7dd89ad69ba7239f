"""A launch records the packs that it runs; a plan writes nothing."""

import shutil
from pathlib import Path

from sweeps.launch.driver import run_study
from sweeps.planning.plan import plan_study
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.study_status import StudyStatus
from sweeps.study.expand import Study
from sweeps.worker.lane_log import log_path
from tests.support.studies import Tables, tables_of


def test_what_a_launch_ran_is_recorded_and_a_plan_of_it_is_empty(
    unbroken: tuple[Path, Tables], tiny_study: Study
) -> None:
    out, _ = unbroken

    assert plan_study(tiny_study, out).packs == ()
    recorded = PackStore(out).recorded_packs()
    assert sorted(key for members in recorded.values() for key in members) == sorted(tiny_study.by_key)


def test_a_launch_again_meets_the_packs_of_the_one_before(
    finished: Path, tiny_study: Study, unbroken: tuple[Path, Tables]
) -> None:
    store, packs = RunStore(finished), PackStore(finished)
    lora = next(run for run in tiny_study.runs if run.method == "lora")
    recorded = packs.recorded_packs()
    shutil.rmtree(store.run_folder(lora.key))

    outcome = run_study(tiny_study, finished, executor="local")

    assert (outcome.tried, outcome.trained) == (1, 1)
    assert packs.recorded_packs() == recorded
    assert tables_of(tiny_study, finished).weights == unbroken[1].weights


def test_a_run_whose_source_has_failed_cannot_be_trained(tiny_study: Study, tmp_path: Path) -> None:
    store, port = RunStore(tmp_path), next(run for run in tiny_study.runs if run.method == "portal")
    assert port.source is not None
    store.mark_failed(port.source, "diverged", tmp_path / "log")

    found = StudyStatus.read(store, tiny_study.runs).trainable(tiny_study.runs)

    assert set(tiny_study.by_key) - set(found) == {port.source, port.key}


def test_a_run_whose_worker_was_lost_is_tried_again(
    finished: Path, tiny_study: Study, unbroken: tuple[Path, Tables]
) -> None:
    store, run = RunStore(finished), tiny_study.runs[0]
    shutil.rmtree(store.run_folder(run.key))
    store.mark_failed(run.key, "its worker died twice", log_path(finished, 0), lost=True)

    outcome = run_study(tiny_study, finished, executor="local")

    assert (outcome.is_done, outcome.tried, outcome.trained, outcome.failed) == (True, 1, 1, 0)
