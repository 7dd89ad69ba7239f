"""Interruptions of the worker's own code, without Ray: the study runs in a child process that is killed.

What a run starts from, at any depth, decides whether anything waits for it.
"""

import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from portal.config import RunConfig
from portal.results import RESULTS, read_table
from portal.training import evaluator
from portal.training.pack import Pack
from sweeps.launch.driver import run_study
from sweeps.planning.plan import plan_study
from sweeps.results.snapshot import collect
from sweeps.store.lease import LeaseLost
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study, load_study
from sweeps.worker.job import LaneJob, PackJob, checkpoint_interval_s
from sweeps.worker.lane import SettledRuns, run_lane
from sweeps.worker.pack_trainer import PackTrainer
from tests.support.bases import make_run
from tests.support.counts import nightly, times
from tests.support.kills import kill_and_end
from tests.support.studies import TINY, Tables, counts_of, load_text, silent, tables_of


@pytest.fixture
def chain(tmp_path: Path) -> tuple[RunConfig, ...]:
    """Recorded runs, each of which starts from the one before."""
    runs = [make_run("source", "a")]
    for base in ("b", "c"):
        runs.append(make_run("portal", base, source=runs[-1].key))
    for run in runs:
        RunStore(tmp_path).write_run(run)
    return tuple(runs)


def test_runs_are_awaited_until_they_are_finished(tmp_path: Path, chain: tuple[RunConfig, ...]) -> None:
    store, settled = RunStore(tmp_path), SettledRuns(RunStore(tmp_path))
    assert [run.key in settled for run in chain] == [False, False, False]

    store.mark_done(chain[0].key)
    assert [run.key in settled for run in chain] == [True, False, False]

    store.mark_failed(chain[1].key, "diverged", tmp_path / "log")
    assert [run.key in settled for run in chain] == [True, True, True]
    assert chain[2].key not in settled.finished


def test_a_failure_settles_all_that_starts_from_it(tmp_path: Path, chain: tuple[RunConfig, ...]) -> None:
    settled = SettledRuns(RunStore(tmp_path))
    assert chain[2].key not in settled

    RunStore(tmp_path).mark_failed(chain[0].key, "diverged", tmp_path / "log")

    assert [run.key in settled for run in chain] == [True, True, True]
    assert [run.key in settled.finished for run in chain] == [True, False, False]


def test_what_starts_from_an_artifact_made_elsewhere_is_awaited(tmp_path: Path) -> None:
    port = make_run("portal", "b", source="f" * 16)
    RunStore(tmp_path).write_run(port)
    settled = SettledRuns(RunStore(tmp_path), ["f" * 16])

    assert "f" * 16 in settled
    assert port.key not in settled


def launch(study: Study, out: Path) -> None:
    run_study(study, out, executor="local", console=silent())


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_with_the_same_tables_and_weights(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.01")

    kills = kill_and_end(launch, tiny_study, tmp_path, kills=times(3, nightly=6))

    _, expected = unbroken
    found = tables_of(tiny_study, tmp_path)
    assert kills >= times(2, nightly=3)
    assert found.results.equals(expected.results)
    assert found.predictions.equals(expected.predictions)
    assert found.weights == expected.weights


def test_a_finished_study_is_left_alone(tiny_study: Study, unbroken: tuple[Path, Tables]) -> None:
    out, _ = unbroken
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}

    outcome = run_study(tiny_study, out, executor="local", console=silent())

    assert (outcome.trained, outcome.done, outcome.is_done) == (0, 9, True)
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before


def test_one_more_seed_trains_only_what_is_new(unbroken: tuple[Path, Tables], tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(unbroken[0], out)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))
    study = load_study(path)
    assert counts_of(study, out) == {
        "total": 13,
        "done": 9,
        "running": 0,
        "failed": 0,
        "paused": 0,
        "stopped": 0,
        "missing": 4,
    }

    outcome = run_study(study, out, executor="local", console=silent())

    assert (outcome.trained, outcome.done, outcome.total) == (4, 13, 13)


def test_a_run_that_diverges_is_reported_and_the_others_finish(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        TINY.replace("seeds: [0, 1]", "seeds: [0]").replace(
            "portal: {size: 8,", "portal: {size: 8, source: source,"
        )
        + """
  wild: {method: lora, size: 8, train: {epochs: 2, lr: 1e30}}
  wild-source: {method: source, size: 8, train: {epochs: 2, lr: 1e38, lr_latent: 1e38}, adapter: {rank: 2}}
  wild-port: {method: portal, size: 8, source: wild-source}
"""
    )
    study = load_study(path)

    outcome = run_study(study, tmp_path / "out", executor="local", console=silent())

    assert not outcome.is_done
    assert outcome.done == outcome.total - 3
    causes = {failure.name: failure.cause for failure in outcome.failures}
    assert len(causes) == 3
    assert any("step" in cause and "lora" in cause for cause in causes.values())
    assert any("its source run" in cause for cause in causes.values())
    assert counts_of(study, tmp_path / "out")["failed"] == 2
    again = run_study(study, tmp_path / "out", executor="local", console=silent())
    assert (again.is_done, again.trained) == (False, 0)


def test_packs_of_a_lane_score_the_frozen_base_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, queue = [], evaluator.queue_scores
    monkeypatch.setattr(
        evaluator, "queue_scores", lambda base, rows: (scored.append(len(rows.rows)), queue(base, rows))[1]
    )
    alone = """
name: alone
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0, 1]
pack_size: 1
sources: [mini-qwen3-xs]
targets: [mini-qwen3-s]
methods:
  base: {}
  lora: {size: 4, train: {epochs: 1, lr: 1e-3, evaluate: every_epoch}}
"""

    outcome = run_study(load_text(tmp_path, alone), tmp_path / "out", executor="local", console=silent())

    assert outcome.is_done
    assert outcome.total == 3
    tasks_and_splits = 2 * 2
    assert scored == [4] * tasks_and_splits * 3  # the base, and each LoRA after its epoch


def refuse_steps(monkeypatch: pytest.MonkeyPatch, refuses: Callable[[Pack], bool]) -> list[int]:
    """Make steps of such packs run out of memory; returns how many learners took each step that fits."""
    taken: list[int] = []
    step = Pack.step

    def limited(pack: Pack) -> int:
        if refuses(pack):
            raise torch.OutOfMemoryError("no room")
        taken.append(step(pack))
        return taken[-1]

    monkeypatch.setattr(Pack, "step", limited)
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [3, *nightly(0)])
def test_runs_that_do_not_fit_together_go_on_in_halves_and_lose_no_step(
    tiny_study: Study,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_step: int,
) -> None:
    taken = refuse_steps(
        monkeypatch, lambda pack: len(pack.active) > 1 and max(each.step for each in pack.active) >= at_step
    )

    outcome = run_study(tiny_study, tmp_path, executor="local", console=silent())

    assert (outcome.is_done, outcome.done) == (True, 9)
    assert sum(taken) == 6 * 4 + 2 * 2  # two epochs of two batches each, the small LoRAs of one
    assert tables_of(tiny_study, tmp_path).results.equals(unbroken[1].results)
    assert not list((tmp_path / "packs").glob("*/state"))


@pytest.mark.nightly
def test_the_state_is_saved_once_nothing_holds_what_the_failed_forward_kept(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is being handled holds the frames that it went through, and their tensors."""
    handled: list[BaseException | None] = []
    refused = refuse_steps(monkeypatch, lambda pack: len(pack.active) > 1)
    save = PackTrainer.save

    def watched(trainer: PackTrainer, **named: bool) -> None:
        handled.append(sys.exception())
        save(trainer, **named)

    monkeypatch.setattr(PackTrainer, "save", watched)
    outcome = run_study(tiny_study, tmp_path, executor="local", console=silent())

    assert outcome.is_done
    assert refused
    assert handled
    assert not any(handled)


def test_a_lane_on_a_gpu_keeps_to_its_share_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: limits.append(given))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    for device, gpus in (("cpu", 0.5), ("cuda", 0.5), ("cuda", 2.0)):
        job = LaneJob(
            out=str(tmp_path), token="0" * 16, lane=0, packs=(), rows={}, device=device, gpus_per_worker=gpus
        )
        with pytest.raises(LeaseLost):
            run_lane(job, lambda finished: None)

    assert limits == [(0.475,), (0.95, 1), (0.95, 2)]


@pytest.mark.slow
def test_a_run_that_does_not_even_fit_alone_fails_and_the_others_finish(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = next(run.key for run in tiny_study.runs if run.method == "lora" and run.seed == 1)
    refuse_steps(monkeypatch, lambda pack: large in [learner.run.key for learner in pack.active])

    outcome = run_study(tiny_study, tmp_path, executor="local", console=silent())

    assert outcome.done == outcome.total - 1
    (failure,) = outcome.failures
    assert failure.run == large
    assert "does not fit the device's memory: no room" in failure.cause


@pytest.mark.slow
def test_transfers_and_controls_are_runs_like_others(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        TINY.replace("seeds: [0, 1]", "seeds: [0]")
        + """
  cross_lora: {}
  random_lora: {}
  zero_lora: {}
"""
    )
    study = load_study(path)

    outcome = run_study(study, tmp_path / "out", executor="local", console=silent())

    assert outcome.is_done
    table = read_table(collect(study.manifest, tmp_path / "out") / "results.parquet", RESULTS).to_pylist()
    last = {(row["label"], row["base"], row["task"], row["split"]): row for row in table}
    for task in study.tasks:
        base, zero = (last[name, "mini-qwen3-s", task, "test"] for name in ("base", "zero_lora"))
        assert (zero["acc"], zero["acc_norm"]) == (base["acc"], base["acc_norm"])
        assert zero["log_loss"] == pytest.approx(base["log_loss"], rel=1e-6)
        crossed, random_one = (
            last[name, "mini-qwen3-s", task, "test"] for name in ("cross_lora", "random_lora")
        )
        assert crossed["sources"] == ["mini-qwen3-xs"]
        assert crossed["norm_ratio"] == pytest.approx(random_one["norm_ratio"], rel=1e-3)
        assert crossed["log_loss"] != base["log_loss"]
    for method in ("lora", "cross_lora"):
        run = next(run for run in study.runs if run.method == method and run.bases[0].name == "mini-qwen3-s")
        card = RunStore(tmp_path / "out").run_folder(run.key) / "artifact" / "counting" / "README.md"
        accuracy = last[method, "mini-qwen3-s", "counting", "test"]["acc"]
        assert f"accuracy {accuracy:.3f}" in card.read_text()
    again = run_study(study, tmp_path / "out", executor="local", console=silent())
    assert (again.is_done, again.trained) == (True, 0)


def test_a_worker_without_its_driver_commits_nothing(tiny_study: Study, tmp_path: Path) -> None:
    plan = plan_study(tiny_study, tmp_path)
    packs = tuple(PackJob(pack.key, 1, pack.members, (), pack.bases) for pack in plan.packs)
    job = LaneJob(out=str(tmp_path), token="0" * 16, lane=0, packs=packs, rows={})

    with pytest.raises(LeaseLost):
        run_lane(job, lambda finished: None)

    assert not any(RunStore(tmp_path).is_done(key) for key in tiny_study.by_key)


def test_a_checkpoint_interval_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("often", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("PORTAL_CHECKPOINT_S", text)
        with pytest.raises(ValueError, match=f"PORTAL_CHECKPOINT_S='{text}'"):
            checkpoint_interval_s()
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "2.5")
    assert checkpoint_interval_s() == 2.5
    monkeypatch.delenv("PORTAL_CHECKPOINT_S")
    assert checkpoint_interval_s() is None


def test_progress_is_seen_while_a_run_trains(tiny_study: Study, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    child = context.Process(target=launch, args=(tiny_study, tmp_path))
    child.start()
    seen = set()
    while child.is_alive():
        seen.add(counts_of(tiny_study, tmp_path)["running"])
        time.sleep(0.02)
    child.join()

    assert child.exitcode == 0
    assert counts_of(tiny_study, tmp_path) == {
        "total": 9,
        "done": 9,
        "running": 0,
        "failed": 0,
        "paused": 0,
        "stopped": 0,
        "missing": 0,
    }
    assert max(seen) > 0
