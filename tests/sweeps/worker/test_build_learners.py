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


def test_a_run_whose_source_was_altered_fails_with_the_cause_and_the_others_are_built(
    job: LaneJob, finished: Path, tiny_study: Study
) -> None:
    store = RunStore(finished)
    port = next(run for run in tiny_study.runs if run.method == "portal")
    assert port.source is not None
    (weights,) = store.run_folder(port.source).glob("artifact/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")

    learners = build_learners(job, tiny_study.runs, WorkerGroup())

    left = [run.key for run in tiny_study.runs if run.source != port.source]
    assert [learner.key for learner in learners] == left
    failure = store.failure(port.key)
    assert failure is not None
    assert failure.cause.startswith(f"run {port.key} (")
    assert f"{weights}: altered since the run finished" in failure.cause


def test_a_run_whose_source_is_not_done_is_left_out_unmarked(
    job: LaneJob, finished: Path, tiny_study: Study
) -> None:
    store = RunStore(finished)
    port = next(run for run in tiny_study.runs if run.method == "portal")
    assert port.source is not None
    (store.run_folder(port.source) / "DONE.json").unlink()

    learners = build_learners(job, [port], WorkerGroup())

    assert learners == []
    assert store.failure(port.key) is None
