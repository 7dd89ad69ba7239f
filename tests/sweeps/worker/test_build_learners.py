"""Learners of a pack: what cannot be built is marked as failed, what waits for its source is left out."""

from pathlib import Path

from portal.training.worker_group import WorkerGroup
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.worker.build_learners import build_learners
from sweeps.worker.job import LaneJob


def test_every_run_of_a_study_gets_its_learner_in_order(job: LaneJob, tiny_study: Study) -> None:
    learners = build_learners(job, tiny_study.runs, WorkerGroup())

    assert [learner.run for learner in learners] == list(tiny_study.runs)


def test_a_run_whose_source_was_altered_fails_with_the_cause_and_one_whose_source_is_not_done_is_left_out(
    job: LaneJob, finished: Path, tiny_study: Study
) -> None:
    store = RunStore(finished)
    altered, undone = (run for run in tiny_study.runs if run.method == "portal")
    assert altered.source is not None
    assert undone.source is not None
    (weights,) = store.run_folder(altered.source).glob("artifact/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (store.run_folder(undone.source) / "DONE.json").unlink()

    learners = build_learners(job, tiny_study.runs, WorkerGroup())

    assert [learner.run for learner in learners] == [run for run in tiny_study.runs if run.source is None]
    failure = store.failure(altered.key)
    assert failure is not None
    assert failure.cause.startswith(f"run {altered.key} (")
    assert f"{weights}: altered since the run finished" in failure.cause
    assert store.failure(undone.key) is None
