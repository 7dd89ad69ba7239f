"""Every run of a study is in one group, and a run without a result says why.

Runs are paused, stopped and tried again as people ask, while the others go on as if nothing had been.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from portal.config import RunConfig
from portal.training.pack import SYNC_STEPS, Pack
from sweeps.launch.driver import LaunchResult, run_study
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore
from sweeps.store.session import Session
from sweeps.store.study_status import RunFailure, RunRequests, StudyStatus
from sweeps.study.expand import Study
from sweeps.study.manifest import record_manifest
from sweeps.worker import pack_trainer
from tests.support.bases import make_run
from tests.support.studies import Tables, assert_same, counts_of, load_text, silent, tables_of


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
        states=dict(
            zip([run.key for run in runs], ("done", "failed", "failed", "running", "missing"), strict=True)
        ),
        failed={
            failed.key: RunFailure(cause="the loss is nan", log=str(tmp_path / "lane-0.log")),
            lost.key: RunFailure(cause="its worker died", log=str(tmp_path / "lane-1.log"), lost=True),
        },
        stopped_by={},
    )
    counts = {"total": 5, "done": 1, "running": 1, "failed": 2, "paused": 0, "stopped": 0, "missing": 1}
    assert status.counts == counts
    assert status.failed_for_good == (failed.key,)
    assert status.trainable(runs) == (lost.key, training.key, missing.key)
    assert status.trainable(runs, lost_too=False) == (training.key, missing.key)
    assert StudyStatus.read(store, runs).running == ()  # progress that a dead driver left
    assert StudyStatus.read(store, runs[1:]).counts["done"] == 0  # that run is another study's
    store.mark_failed(done.key, "an older launch", tmp_path / "log")
    assert StudyStatus.read(store, [done]).done == (done.key,)


def test_a_run_whose_source_or_its_source_failed_says_so_and_names_the_log(tmp_path: Path) -> None:
    store, source, other = RunStore(tmp_path), make_run("source", "a"), make_run("lora", "a")
    port = make_run("portal", "b", source=source.key)
    second = make_run("portal", "c", source=port.key)
    store.mark_failed(source.key, "the loss is nan", tmp_path / "lane-0.log")

    status = StudyStatus.read(store, [source, port, second, other])

    log = str(tmp_path / "lane-0.log")
    assert status.stopped_by == {port.key: source.key, second.key: source.key}
    assert status.why_absent(source) == RunFailure(cause="the loss is nan", log=log)
    for run in (port, second):
        assert status.why_absent(run) == RunFailure(cause=f"its source run {source.key} failed", log=log)
    assert status.why_absent(other) is None
    assert status.trainable([source, port, second, other]) == (other.key,)
    (store.run_folder(source.key) / "FAILED.json").write_text('{"log": "a"}')
    with pytest.raises(ValueError, match=rf"{source.key}/FAILED\.json: not a failure's marker .*cause"):
        StudyStatus.read(store, [source])


def test_a_refreshed_status_is_that_of_now(tmp_path: Path, runs: list[RunConfig]) -> None:
    store, (first, second, third) = RunStore(tmp_path), runs[:3]
    finish(store, second)
    before = StudyStatus.read(store, runs)
    finish(store, first)
    store.mark_failed(third.key, "diverged", tmp_path / "log")

    assert before.done == (second.key,)
    assert before.refreshed(store, runs) == StudyStatus.read(store, runs)
    assert before.refreshed(store, runs).done == (first.key, second.key)


STUDY = """
name: asked
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0, 1]
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  source:
    size: 4
    adapter: {rank: 2, alpha: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 32, evaluate: last_epoch}
  portal: {size: 4, train: {epochs: 2}}
"""
LAST = 32
"""Steps of a source."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_text(tmp_path_factory.mktemp("study"), STUDY)


@pytest.fixture(scope="module")
def expected(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    out = tmp_path_factory.mktemp("whole")
    assert launch(study, out).is_done
    return tables_of(study, out)


def ask(out: Path, key: str, request: str) -> None:
    """What a person does while a driver works."""
    (out / "requests").mkdir(exist_ok=True)
    (out / "requests" / key).write_text(request)


def launch(study: Study, out: Path) -> LaunchResult:
    return run_study(study, out, executor="local", console=silent())


def at_step(monkeypatch: pytest.MonkeyPatch, does: dict[int, Callable[[], None]]) -> None:
    """Do this, once, when the runs of the first pack have taken so many steps; requests are heard at once."""
    step, waiting = Pack.step, dict(does)

    def stepped(pack: Pack) -> int:
        taken = step(pack)
        now = max(learner.step for learner in pack.learners)
        if now in waiting:
            waiting.pop(now)()
        return taken

    monkeypatch.setattr(Pack, "step", stepped)
    monkeypatch.setattr(pack_trainer, "HEAR_S", 0.0)


def first_step(study: Study, out: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Launch the study, which is done then; the step from which the first pack goes on."""
    steps, step = list[int](), Pack.step
    with monkeypatch.context() as patched:
        patched.setattr(Pack, "step", lambda pack: (steps.append(pack.learners[0].step), step(pack))[1])
        assert launch(study, out).is_done
    return steps[0]


def source_of(study: Study, seed: int) -> str:
    return next(run.key for run in study.runs if run.method == "source" and run.seed == seed)


def test_a_paused_run_goes_on_from_where_it_was_and_ends_as_if_it_had_never_paused(
    study: Study, expected: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, requests = source_of(study, 1), RunRequests(tmp_path)
    with monkeypatch.context() as patched:
        at_step(patched, {SYNC_STEPS + 2: lambda: ask(tmp_path, key, "pause")})
        outcome = launch(study, tmp_path)

    assert (outcome.done, outcome.failed, outcome.left_out) == (2, 0, 1)
    assert outcome.summary == "2 trained now, 1 left out as asked"
    causes = {failure.run: failure.cause for failure in outcome.failures}
    assert causes[key] == f"paused as asked, at step {2 * SYNC_STEPS}"
    (port,) = set(causes) - {key}
    assert causes[port] == f"its source run {key} is paused"
    assert requests.asked() == {}
    counts = counts_of(study, tmp_path)
    assert (counts["done"], counts["failed"], counts["paused"]) == (2, 0, 1)
    assert launch(study, tmp_path).tried == 0

    RunStore(tmp_path).forget_failed([key])
    assert first_step(study, tmp_path, monkeypatch) == 2 * SYNC_STEPS
    assert_same(tables_of(study, tmp_path), expected)
    assert not list(tmp_path.glob("packs/*/state"))


def test_a_paused_run_keeps_its_state_through_launches_that_finish_the_others(
    study: Study, expected: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, requests = source_of(study, 1), RunRequests(tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        at_step(patched, {2: lambda: requests.ask_or_do([key], "pause", tmp_path), LAST - 4: interrupt})
        with pytest.raises(KeyboardInterrupt):
            launch(study, tmp_path)
    assert launch(study, tmp_path).done == 2
    assert counts_of(study, tmp_path)["paused"] == 1

    assert not requests.ask_or_do([key], "retry", tmp_path)
    assert first_step(study, tmp_path, monkeypatch) == SYNC_STEPS
    assert_same(tables_of(study, tmp_path), expected)


def test_what_was_asked_between_two_launches_is_done_by_the_next(study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, study.manifest)
    keys = [source_of(study, seed) for seed in (0, 1)]
    ask(tmp_path, keys[0], "stop")
    RunStore(tmp_path).mark_failed(keys[1], "a loss was not finite", tmp_path / "log")
    ask(tmp_path, keys[1], "retry")

    outcome = launch(study, tmp_path)

    assert (outcome.done, counts_of(study, tmp_path)["stopped"]) == (2, 1)
    assert RunRequests(tmp_path).asked() == {}


def test_a_run_ends_where_it_is_stopped_or_before_it_is_begun_and_one_that_has_ended_stays(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, ended = (source_of(study, seed) for seed in (0, 1))
    port = next(run.key for run in study.runs if run.source == ended)
    asked = {3: (stopped, "stop"), 5: (port, "pause"), LAST: (ended, "stop")}
    at_step(monkeypatch, {step: partial(ask, tmp_path, *what) for step, what in asked.items()})

    outcome = launch(study, tmp_path)

    assert (outcome.done, outcome.left_out) == (1, 2)
    assert RunRequests(tmp_path).asked() == {}
    store = RunStore(tmp_path)
    assert store.failure(stopped) == RunFailure(
        cause=f"stopped as asked, at step {SYNC_STEPS}", log=str(tmp_path / "logs/lane-0.log"), asked="stop"
    )
    assert not (store.run_folder(stopped) / "losses.parquet").exists()
    left = store.failure(port)
    assert left is not None
    assert (left.cause, left.asked) == ("paused as asked, before its next step", "pause")
    counts = counts_of(study, tmp_path)
    assert (counts["done"], counts["stopped"], counts["paused"]) == (1, 1, 1)
    assert launch(study, tmp_path).tried == 0


def test_a_run_that_is_to_be_tried_again_is_trained_before_the_driver_ends(
    study: Study, expected: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = source_of(study, 1)
    asked = {2: "pause", SYNC_STEPS + 4: "retry"}
    at_step(monkeypatch, {step: partial(ask, tmp_path, key, word) for step, word in asked.items()})

    assert launch(study, tmp_path).is_done
    assert_same(tables_of(study, tmp_path), expected)


def test_a_later_request_replaces_an_earlier_one_and_what_is_none_is_passed_over(tmp_path: Path) -> None:
    ask(tmp_path, "a" * 16, "pause")
    ask(tmp_path, "a" * 16, "stop")
    ask(tmp_path, "b" * 16, "retry")
    for name in ("c" * 16, f".{'d' * 16}.77.tmp", "..%2f"):
        (tmp_path / "requests" / name).write_text("dance" if name[0] == "c" else "retry")
    (tmp_path / "requests" / ("e" * 16)).mkdir()

    requests = RunRequests(tmp_path)
    assert requests.asked() == {"a" * 16: "stop", "b" * 16: "retry"}
    requests.withdraw("a" * 16)
    requests.withdraw("b" * 16)
    assert requests.asked() == {"b" * 16: "retry"}


def test_what_a_run_can_be_asked_depends_on_how_it_is(study: Study, tmp_path: Path) -> None:
    record_manifest(tmp_path, study.manifest)
    requests, store, key = RunRequests(tmp_path), RunStore(tmp_path), source_of(study, 0)

    for none in ("abc", "../../x", "", "A" * 16):
        with pytest.raises(ValueError, match="is no key of a run"):
            requests.ask_or_do([none], "pause", tmp_path)
    assert not (tmp_path / "requests").exists()
    with pytest.raises(ValueError, match="has not failed here"):
        requests.ask_or_do([key], "retry", tmp_path)
    store.mark_failed(key, "its worker died", tmp_path / "log", lost=True)
    assert not requests.ask_or_do([key], "pause", tmp_path)
    assert StudyStatus.read(store, study.runs).states[key] == "paused"
    assert not requests.ask_or_do([key], "stop", tmp_path)
    assert StudyStatus.read(store, study.runs).states[key] == "stopped"
    with pytest.raises(ValueError, match="has ended: stopped as asked"):
        requests.ask_or_do([key], "pause", tmp_path)
    assert not requests.ask_or_do([key], "retry", tmp_path)
    assert store.failure(key) is None
    with acquire(tmp_path):
        assert requests.ask_or_do([key], "pause", tmp_path)
        assert requests.ask_or_do([key], "retry", tmp_path)
    assert requests.asked() == {key: "retry"}
