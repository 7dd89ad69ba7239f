"""Workers of Ray that step one pack together learn what one worker learns, also when one is killed."""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from portal.results import RESULTS, RESULTS_FILE, read_table
from sweeps.gpu_check.world import SLIDING, SOURCE, TARGET
from sweeps.launch.driver import run_study
from sweeps.launch.executors import Wanted
from sweeps.launch.ray_session import ray_session
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import read_progress
from sweeps.study.context import StudyContext
from sweeps.study.expand import expand
from sweeps.study.study_file import StudyFile, WorkersPerPack
from sweeps.worker.job import INTERVAL_VARIABLE, log_path
from sweeps.worker.pack_trainer import DRIFTED
from tests.support.devices import DEVICE, DeviceWorld, expect, hold
from tests.support.studies import silent, wait_for

LOSS_BOUND = {"cpu": 1e-4, "cuda": 0.02}[DEVICE]
"""Nats per token between what a team and one worker have learnt: sums of parts round in another way."""
TIME_BOUND = 0.8
"""Of a team's time over one worker's: above, its workers wait for each other, or for a CPU core."""
_STEPS, _BATCH, _ROWS = 40, 8, 64
_STUDY = {
    "name": "team",
    "tasks": ["fact_qa", "passage_yesno", "counting"],
    "eval_size": 16,
    "seeds": [0],
    "methods": {
        "source": {
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
    },
}


@pytest.mark.chaos
@pytest.mark.ray
@pytest.mark.parametrize(("sources", "workers"), [([TARGET, SLIDING], "bases"), ([SOURCE], 2)])
def test_a_team_learns_what_one_worker_does_also_when_one_is_killed(
    world: DeviceWorld,
    sources: list[str],
    workers: WorkersPerPack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if world.workers < 2:
        pytest.skip(world.lone_worker)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ray_session(tmp_path / "ray", silent(), Wanted(world.device_kind)):
        alone = train(world, sources, 1, tmp_path / "alone")
        team = train(world, sources, workers, tmp_path / "team")
        monkeypatch.setenv(INTERVAL_VARIABLE, "0.1")
        killed: list[int] = []
        threading.Thread(target=kill_a_worker, args=(tmp_path / "broken", killed), daemon=True).start()
        broken = train(world, sources, workers, tmp_path / "broken")

    hold("losses off those of one worker", team.apart(alone), LOSS_BOUND)
    hold("the same of a team of which one was killed", broken.apart(alone), LOSS_BOUND)
    expect("replicas that drifted apart", team.drifted, at_most=0)
    expect("training time over that of one worker", team.wall_s / alone.wall_s, at_most=TIME_BOUND)
    expect("workers that were killed on purpose", len(killed), at_least=1)


@dataclass(frozen=True)
class Trained:
    """What a joint run ended with: log-losses by base, task and split, and seconds of training.

    `drifted` is how often its workers' parameters differed.
    """

    losses: Mapping[tuple[str, str, str], float]
    wall_s: float
    drifted: int

    def apart(self, other: "Trained") -> float:
        """The most that losses differ."""
        assert self.losses.keys() == other.losses.keys()
        return max(abs(self.losses[place] - loss) for place, loss in other.losses.items())


def train(world: DeviceWorld, sources: list[str], workers: WorkersPerPack, out: Path) -> Trained:
    asked = {"sources": sources, "device": world.device_kind, "workers_per_pack": workers}
    settings = StudyFile.model_validate(_STUDY | asked)
    study = expand(settings, StudyContext.open(settings))
    result = run_study(study, out, executor="plain", console=silent())
    assert result.is_done, result.summary
    (run,) = study.runs
    table = read_table(RunStore(out).run_folder(run.key) / RESULTS_FILE, RESULTS)
    rows = [row for row in table.to_pylist() if row["epoch"] > 0]
    return Trained(
        {(row["base"], row["task"], row["split"]): row["log_loss"] for row in rows},
        max(row["wall_s"] for row in rows),
        log_path(out, 0).read_text().count(DRIFTED),
    )


def kill_a_worker(out: Path, killed: list[int]) -> None:
    """Kill a worker that is at work in `out` once its pack has a checkpoint."""
    wait_for(PackStore(out).newest_checkpoints, "a checkpoint")
    at_work = wait_for(lambda: [lane["pid"] for lane in read_progress(out) if "pid" in lane], "a worker")
    os.kill(at_work[0], signal.SIGKILL)
    killed.append(at_work[0])
