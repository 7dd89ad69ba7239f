"""Lanes without Ray: what they wait for, train again, give up, and leave alone; killed, they go on."""

import multiprocessing
import shutil
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pytest
import torch

from portal.results import RESULTS, read_table
from portal.training import evaluator
from portal.training.pack import Pack
from sweeps.launch.driver import LaunchResult, run_study
from sweeps.planning.plan import plan_study
from sweeps.results.snapshot import collect
from sweeps.store.lease import LeaseLost
from sweeps.store.run_store import RunStore
from sweeps.study.expand import Study
from sweeps.worker.job import LaneJob, PackJob, checkpoint_interval_s
from sweeps.worker.lane import SettledRuns, run_lane
from sweeps.worker.pack_trainer import PackTrainer
from tests.support.bases import make_run
from tests.support.counts import CHAOS, nightly, times
from tests.support.kills import kill_and_end
from tests.support.studies import TINY, Tables, assert_same, counts_of, load_text, silent, tables_of

NO_RUNS = dict.fromkeys(("total", "done", "running", "failed", "paused", "stopped", "missing"), 0)
MIXED = (
    TINY.replace("seeds: [0, 1]", "seeds: [0]").replace("portal: {", "portal: {source: source, ")
    + """
  cross_lora: {source: lora}
  random_lora: {source: lora}
  zero_lora: {}
  wild: {method: lora, size: 8, train: {epochs: 2, lr: 1e30}}
  wild-source: {method: source, size: 8, train: {epochs: 2, lr: 1e38, lr_latent: 1e38}, adapter: {rank: 2}}
  wild-port: {method: portal, size: 8, source: wild-source}
"""
)
TWELVE = (
    TINY
    + """
  hypernet:
    size: 8
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 2}
  cross_lora: {seeds: [0], source_base: mini-qwen3-s, targets: [mini-qwen3-s]}
"""
)
"""Twelve runs of every kind that trains."""


def launch(study: Study, out: Path) -> LaunchResult:
    return run_study(study, out, executor="local", console=silent())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, LaunchResult]:
    """A study with transfers, controls and runs that diverge, its folder, and how its launch ended."""
    folder = tmp_path_factory.mktemp("mixed")
    study = load_text(folder, MIXED)
    return study, folder / "out", launch(study, folder / "out")


def chain_in(store: RunStore) -> list[str]:
    """Keys of recorded runs, each of which starts from the one before."""
    runs = [make_run("source", "a")]
    for base in ("b", "c"):
        runs.append(make_run("portal", base, source=runs[-1].key))
    for run in runs:
        store.write_run(run)
    return [run.key for run in runs]


def test_runs_are_awaited_until_they_are_finished_or_what_they_start_from_has_failed(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    chain, settled = chain_in(store), SettledRuns(store, ["f" * 16])
    elsewhere = make_run("portal", "b", source="f" * 16)
    store.write_run(elsewhere)

    assert [key in settled for key in chain] == [False, False, False]
    store.mark_done(chain[0])
    assert [key in settled for key in chain] == [True, False, False]
    store.mark_failed(chain[1], "diverged", tmp_path / "log")
    assert [key in settled for key in chain] == [True, True, True]
    assert chain[2] not in settled.finished
    assert "f" * 16 in settled  # an artifact that no run here makes
    assert elsewhere.key not in settled


def test_a_failure_settles_all_that_starts_from_it_at_any_depth(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    chain, settled = chain_in(store), SettledRuns(store)
    assert chain[2] not in settled

    store.mark_failed(chain[0], "diverged", tmp_path / "log")

    assert [key in settled for key in chain] == [True, True, True]
    assert [key in settled.finished for key in chain] == [True, False, False]


@pytest.mark.slow
@pytest.mark.timeout(900 * max(1, CHAOS))
@pytest.mark.parametrize(
    ("text", "most"),
    [(TINY, times(3, nightly=6)), pytest.param(TWELVE, times(25, nightly=25), marks=pytest.mark.nightly)],
    ids=["nine", "twelve"],
)
def test_a_study_killed_again_and_again_ends_with_the_same_tables_and_weights(
    text: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.01")
    study, kills, rounds = load_text(tmp_path, text), 0, 0
    assert launch(study, tmp_path / "unbroken").is_done
    expected = tables_of(study, tmp_path / "unbroken")

    while kills < most:
        out, rounds = tmp_path / f"broken-{rounds}", rounds + 1
        kills += kill_and_end(launch, study, out, kills=most - kills, seed=rounds)
        assert_same(tables_of(study, out), expected)


def test_a_finished_study_is_left_alone_and_one_more_seed_trains_only_what_is_new_and_shows_how_far(
    tiny_study: Study, unbroken: tuple[Path, Tables], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(unbroken[0], tmp_path / "out"))
    more = load_text(tmp_path, TINY.replace("seeds: [0, 1]", "seeds: [0, 1, 2]"))

    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}

    before = written()
    outcome = launch(tiny_study, out)
    assert (outcome.trained, outcome.done, outcome.is_done) == (0, 9, True)
    assert written() == before
    assert counts_of(more, out) == NO_RUNS | {"total": 13, "done": 9, "missing": 4}

    child = multiprocessing.get_context("fork").Process(target=launch, args=(more, out))
    child.start()
    seen = set()
    while child.is_alive():
        seen.add(counts_of(more, out)["running"])
        time.sleep(0.02)
    child.join()

    assert child.exitcode == 0
    assert counts_of(more, out) == NO_RUNS | {"total": 13, "done": 13}
    assert max(seen) > 0
    assert written().items() >= before.items()


def test_a_run_that_diverges_is_reported_and_the_others_finish(
    mixed: tuple[Study, Path, LaunchResult],
) -> None:
    study, out, outcome = mixed

    assert not outcome.is_done
    assert outcome.done == outcome.total - 3
    causes = {failure.name: failure.cause for failure in outcome.failures}
    assert len(causes) == 3
    assert any("step" in cause and "lora" in cause for cause in causes.values())
    assert any("its source run" in cause for cause in causes.values())
    assert counts_of(study, out)["failed"] == 2
    again = launch(study, out)
    assert (again.is_done, again.trained) == (False, 0)


@pytest.mark.slow
def test_transfers_and_controls_are_runs_like_others(mixed: tuple[Study, Path, LaunchResult]) -> None:
    study, out, _ = mixed

    table = read_table(collect(study.manifest, out) / "results.parquet", RESULTS).to_pylist()
    last = {(row["label"], row["base"], row["task"], row["split"]): row for row in table}
    for task in study.tasks:
        base, zero, crossed, random_one = (
            last[name, "mini-qwen3-s", task, "test"]
            for name in ("base", "zero_lora", "cross_lora", "random_lora")
        )
        assert (zero["acc"], zero["acc_norm"]) == (base["acc"], base["acc_norm"])
        assert zero["log_loss"] == pytest.approx(base["log_loss"], rel=1e-6)
        assert crossed["sources"] == ["mini-qwen3-xs"]
        assert crossed["norm_ratio"] == pytest.approx(random_one["norm_ratio"], rel=1e-3)
        assert crossed["log_loss"] != base["log_loss"]
    for method in ("lora", "cross_lora"):
        run = next(run for run in study.runs if run.method == method and run.bases[0].name == "mini-qwen3-s")
        card = RunStore(out).run_folder(run.key) / "artifact" / "counting" / "README.md"
        accuracy = last[method, "mini-qwen3-s", "counting", "test"]["acc"]
        assert f"accuracy {accuracy:.3f}" in card.read_text()


def test_packs_of_a_lane_score_the_frozen_base_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored, queue = [], evaluator.queue_scores
    monkeypatch.setattr(
        evaluator, "queue_scores", lambda base, rows: (scored.append(len(rows.rows)), queue(base, rows))[1]
    )
    text = (
        TINY[: TINY.index("methods:")]
        + """
pack_size: 1
methods:
  base: {}
  lora: {size: 4, train: {epochs: 1, lr: 1e-3, evaluate: every_epoch}}
"""
    )

    outcome = launch(load_text(tmp_path, text), tmp_path / "out")

    assert outcome.is_done
    assert outcome.total == 3
    tasks_and_splits = 2 * 2
    assert scored == [4] * tasks_and_splits * 3  # the base, and each LoRA after its epoch


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [3, *nightly(0)])
def test_runs_that_do_not_fit_together_go_on_in_halves_and_lose_no_step_and_one_that_does_not_fit_alone_fails(
    tiny_study: Study,
    unbroken: tuple[Path, Tables],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_step: int,
) -> None:
    """The state is saved once the error is not handled any more: it holds what the failed forward kept."""
    large = next(run.key for run in tiny_study.runs if run.method == "lora" and run.seed == 1)
    step, save = Pack.step, PackTrainer.save
    taken: list[int] = []
    handled: list[BaseException | None] = []

    def limited(pack: Pack) -> int:
        keys = [learner.key for learner in pack.active]
        if (len(keys) > 1 or keys == [large]) and max(each.step for each in pack.active) >= at_step:
            raise torch.OutOfMemoryError("no room")
        taken.append(step(pack))
        return taken[-1]

    def watched(trainer: PackTrainer, **named: bool) -> None:
        handled.append(sys.exception())
        save(trainer, **named)

    monkeypatch.setattr(Pack, "step", limited)
    monkeypatch.setattr(PackTrainer, "save", watched)
    outcome = launch(tiny_study, tmp_path)

    (failure,) = outcome.failures
    assert (failure.run, outcome.done) == (large, 8)
    assert "does not fit the device's memory: no room" in failure.cause
    assert sum(taken) == 6 * 4 + 2 * 2 - (4 - at_step)  # two epochs of two batches, the small LoRAs of one
    others = unbroken[1].results.filter(pc.field("run") != large)
    assert tables_of(tiny_study, tmp_path).results.equals(others)
    assert not list((tmp_path / "packs").glob("*/state"))
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
