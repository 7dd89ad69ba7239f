"""Teams: workers of Ray that step one pack together learn what one worker learns, in less time."""

import math
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from portal.results import RESULTS, RESULTS_FILE, read_table
from sweeps.gpu_check.finding import Finding, at_least, at_most, skipped, until_error
from sweeps.gpu_check.world import SLIDING, SOURCE, TARGET, CheckWorld
from sweeps.launch.driver import run_study
from sweeps.launch.executors import Wanted
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import read_progress
from sweeps.study.context import StudyContext
from sweeps.study.expand import Study, expand
from sweeps.study.study_file import StudyFile, WorkersPerPack
from sweeps.worker.job import INTERVAL_VARIABLE, log_path
from sweeps.worker.pack_trainer import DRIFTED

LOSS_BOUNDS = {"cpu": 1e-4, "cuda": 0.02}
"""Nats per token between what a team and one worker have learnt: sums of parts round in another way."""
TIME_BOUND = 0.8
"""Of a team's time over one worker's: above, its workers wait for each other."""
_LOOK_S = 0.02
_STEPS, _BATCH, _ROWS = 40, 8, 64
_SOURCE = {
    "size": _ROWS,
    "adapter": {"rank": 8, "alpha": 16},
    "hypernet": {"d_latent": 32, "d_layer": 16, "hidden": 64, "d_core": 48},
    "train": {
        "epochs": _STEPS * _BATCH // _ROWS,
        "batch_size": _BATCH,
        "evaluate": "last_epoch",
        "hypernet_products": "fp32",
    },
}
_TEAMS: Mapping[str, tuple[list[str], WorkersPerPack]] = {
    "a worker per base": ([TARGET, SLIDING], "bases"),
    "two workers for one base": ([SOURCE], 2),
}


def check_team(world: CheckWorld) -> Iterator[Finding]:
    """Joint training by teams of two, through Ray as studies run it, beside the same by one worker."""
    what = "a pack with several workers"
    if find_spec("ray") is None:
        yield skipped(what, "Ray is not installed")
        return
    if world.workers < 2:
        yield skipped(what, world.lone_worker)
        return
    if os.environ.get("RAY_ADDRESS"):
        yield skipped(what, "RAY_ADDRESS names a cluster, and only this machine is checked")
        return
    from sweeps.launch.ray_session import ray_session

    with ray_session(world.scratch / "ray", Console(quiet=True), Wanted(world.device_kind)):
        found = [
            line
            for name, (sources, workers) in _TEAMS.items()
            for line in until_error(_beside_one_worker(world, name, sources, workers))
        ]
    yield from found  # within the block Ray's log has what is printed


def _beside_one_worker(
    world: CheckWorld, name: str, sources: list[str], workers: WorkersPerPack
) -> Iterator[Finding]:
    folder = world.scratch / name.replace(" ", "-")
    alone = _train(world, sources, 1, folder / "alone")
    team = _train(world, sources, workers, folder / "team")
    yield _compare_losses(f"{name}: losses off those of one worker", team, alone, world)
    yield at_most(f"{name}: replicas that drifted apart", team.drifted, 0, otherwise="WARN")
    yield at_most(
        f"{name}: training time over that of one worker",
        team.wall_s / alone.wall_s,
        TIME_BOUND,
        otherwise="WARN",
        note="its workers wait for each other, or for a CPU core",
    )
    if workers == "bases":
        with saving_often(), killing_a_worker(folder / "broken") as killed:
            broken = _train(world, sources, workers, folder / "broken")
        note = "it had ended before its first checkpoint was seen"
        what = f"{name}: workers that were killed on purpose"
        yield at_least(what, len(killed), 1, otherwise="WARN", note=note)
        yield _compare_losses(
            f"{name}, one of them killed: losses off those of one worker", broken, alone, world
        )


@dataclass(frozen=True)
class Trained:
    """What a joint run ended with: log-losses by base, task and split, and seconds of training.

    `drifted` is how often its workers' parameters differed.
    """

    losses: Mapping[tuple[str, str, str], float]
    wall_s: float
    drifted: int


def _read(study: Study, out: Path) -> Trained:
    (run,) = study.runs
    table = read_table(RunStore(out).run_folder(run.key) / RESULTS_FILE, RESULTS)
    rows = [row for row in table.to_pylist() if row["epoch"] > 0]
    return Trained(
        {(row["base"], row["task"], row["split"]): row["log_loss"] for row in rows},
        max(row["wall_s"] for row in rows),
        log_path(out, 0).read_text().count(DRIFTED),
    )


def _compare_losses(what: str, ours: Trained, theirs: Trained, world: CheckWorld) -> Finding:
    """The line of the most that losses differ."""
    differences = [abs(ours.losses[place] - loss) for place, loss in theirs.losses.items()]
    apart = max(differences) if all(map(math.isfinite, differences)) else math.nan
    return at_most(what, apart, LOSS_BOUNDS[world.device_kind], unit="nats per token")


@contextmanager
def saving_often() -> Iterator[None]:
    """Within the block a worker that is launched saves its pack several times a second."""
    before = os.environ.get(INTERVAL_VARIABLE)
    os.environ[INTERVAL_VARIABLE] = "0.1"
    try:
        yield
    finally:
        del os.environ[INTERVAL_VARIABLE]
        if before is not None:
            os.environ[INTERVAL_VARIABLE] = before


@contextmanager
def killing_a_worker(out: Path) -> Iterator[list[int]]:
    """Within the block a worker that is at work in `out` is killed once its pack has a checkpoint."""
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while not is_over.wait(_LOOK_S):
            at_work = [lane["pid"] for lane in read_progress(out) if "pid" in lane]
            if at_work and PackStore(out).newest_checkpoints():
                with suppress(ProcessLookupError):
                    os.kill(at_work[0], signal.SIGKILL)
                    killed.append(at_work[0])
                    return

    killer = threading.Thread(target=kill, name="killer", daemon=True)
    killer.start()
    try:
        yield killed
    finally:
        is_over.set()
        killer.join()


def _train(world: CheckWorld, sources: list[str], workers_per_pack: WorkersPerPack, out: Path) -> Trained:
    settings = StudyFile.model_validate(
        {
            "name": "gpu-check-team",
            "tasks": ["fact_qa", "passage_yesno", "counting"],
            "eval_size": 16,
            "seeds": [0],
            "sources": sources,
            "device": world.device_kind,
            "workers_per_pack": workers_per_pack,
            "methods": {"source": _SOURCE},
        }
    )
    study = expand(settings, StudyContext.open(settings))
    result = run_study(study, out, executor="plain", console=Console(quiet=True))
    if not result.is_done:
        raise RuntimeError(f"{' + '.join(sources)}, workers per pack: {workers_per_pack}: {result.summary}")
    return _read(study, out)
