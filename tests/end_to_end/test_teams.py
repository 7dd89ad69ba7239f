"""Lanes of several workers: who gets which packs, and joint training by one Ray Train worker per base."""

import os
import signal
import threading
from pathlib import Path

import pytest

from sweeps.launch.driver import LaunchResult, run_study
from sweeps.launch.lane_layout import LaneLayout, lay_out
from sweeps.planning.plan import plan_study
from sweeps.store.lease import acquire
from sweeps.store.run_store import RunStore, pack_key
from sweeps.store.session import Session, read_progress
from sweeps.study.expand import Study, load_study
from sweeps.worker.job import LaneJob, PackJob, log_path
from sweeps.worker.lane import run_lane
from tests.support.studies import TINY, assert_same, silent, tables_of, wait_for

ALONE = """
name: joint
suite: mini
tasks: [fact_qa, counting]
eval_size: 4
seeds: [0, 1]
sources: [mini-qwen3-xs, mini-gemma3]
methods:
  source:
    size: 8
    adapter: {rank: 4, alpha: 8}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
    train: {epochs: 20, evaluate: last_epoch}
"""
JOINT = TINY.replace("sources: [mini-qwen3-xs]", "sources: [mini-qwen3-xs, mini-gemma3]")


def test_a_team_for_each_joint_pack_and_single_workers_for_the_others_as_room_allows() -> None:
    layout = lay_out([2, 2, 1, 1, 1, 1, 1], [4, 4], "bases")
    crowded = lay_out([2, 2, 1, 1], [2], "bases")

    assert layout == LaneLayout(teams=2, team_size=2, singles=5, beside=4)
    assert [layout.workers(lane) for lane in range(layout.count)] == [2, 2, 1, 1, 1, 1, 1]
    assert [layout.takes(lane, 2) for lane in range(layout.count)] == [True] * 2 + [False] * 5
    assert [layout.takes(lane, 1) for lane in range(layout.count)] == [False] * 2 + [True] * 5
    starts = ["now"] * 2 + ["teams placed"] * 4 + ["teams ended"]
    assert [layout.start(lane) for lane in range(layout.count)] == starts
    assert layout.num_workers == 8
    assert crowded == LaneLayout(teams=1, team_size=2, singles=2, beside=0)
    assert [crowded.start(lane) for lane in range(3)] == ["now", "teams ended", "teams ended"]


def test_teams_of_a_given_size_take_all_packs_each_on_one_node() -> None:
    layout = lay_out([2, 1, 1], [5], 2)

    assert layout == LaneLayout(teams=2, team_size=2, singles=0, beside=0)
    assert layout.takes(0, 1)
    assert layout.takes(1, 2)
    assert lay_out([1] * 9, [3, 3, 1], 2).teams == 2
    with pytest.raises(ValueError, match="takes 2 workers on one node, the largest has room for 1"):
        lay_out([2, 1], [1, 1, 1], "bases")


def test_without_teams_every_lane_has_one_worker_and_all_packs() -> None:
    for layout in (lay_out([1, 1], [1, 1], "bases"), lay_out([2, 1], [1, 1], 1)):
        assert layout == LaneLayout(teams=0, team_size=1, singles=2, beside=0)
        assert all(layout.takes(lane, count) for lane in range(2) for count in (1, 2))
        assert all(layout.start(lane) == "now" for lane in range(2))


@pytest.mark.slow
def test_single_workers_do_not_wait_for_a_team_that_is_gone(tiny_study: Study, tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    port = next(run for run in tiny_study.runs if run.method == "portal")
    pack = PackJob(pack_key([port.key]), 2, (port.key,), (port.source or "",), ())
    with acquire(tmp_path) as held:
        job = LaneJob(out=str(tmp_path), token=held.token, lane=1, packs=(pack,), rows={}, teams=(0,))
        for run in tiny_study.runs:
            store.write_run(run)
        session = Session(tmp_path, held.token)
        session.note_team(0, "teams placed")
        lane = threading.Thread(target=run_lane, args=(job, lambda finished: None))
        lane.start()
        lane.join(2)
        assert lane.is_alive()
        session.note_team(0, "teams ended")
        lane.join(30)
        assert not lane.is_alive()
        session.end_round()
        assert not session.teams_have([0], "teams ended")


def test_the_executor_local_refuses_teams(study_path: Path, tmp_path: Path) -> None:
    study_path.write_text(JOINT.replace("name: tiny", "name: tiny\nworkers_per_pack: 2"))

    with pytest.raises(ValueError, match="workers_per_pack needs Ray's"):
        run_study(load_study(study_path), tmp_path / "out", executor="local", console=silent())


def test_a_worker_a_base_needs_less_memory_and_trains_the_same_runs(study_path: Path, tmp_path: Path) -> None:
    from sweeps.planning.devices import find_device

    study_path.write_text(JOINT)
    together = plan_study(load_study(study_path), tmp_path, device=find_device("b200"))
    study_path.write_text(JOINT.replace("name: tiny", "name: tiny\nworkers_per_pack: bases"))
    apart = plan_study(load_study(study_path), tmp_path, device=find_device("b200"))

    assert [pack.key for pack in apart.packs] == [pack.key for pack in together.packs]
    for pack, ours, theirs in zip(apart.packs, apart.forecasts, together.forecasts, strict=True):
        assert (ours.memory_bytes < theirs.memory_bytes) == (len(pack.bases) > 1)


@pytest.mark.chaos
@pytest.mark.ray
def test_joint_training_by_a_worker_a_base_survives_a_kill_and_is_that_of_one_worker(
    ray_cluster: str, study_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTAL_CHECKPOINT_S", "0.1")
    study_path.write_text(ALONE)
    alone = load_study(study_path)
    assert run_study(alone, tmp_path / "alone", executor="local", console=silent()).is_done
    study_path.write_text(ALONE.replace("name: joint", "name: joint\nworkers_per_pack: bases"))
    study, outcomes = load_study(study_path), list[LaunchResult]()
    thread = threading.Thread(
        target=lambda: outcomes.append(
            run_study(study, tmp_path / "team", executor="plain", console=silent())
        )
    )
    thread.start()
    out = tmp_path / "team"
    progress = wait_for(lambda: [lane for lane in read_progress(out) if "pid" in lane], "a lane at work")
    os.kill(progress[0]["pid"], signal.SIGKILL)
    thread.join()

    assert [outcome.is_done for outcome in outcomes] == [True]
    assert log_path(out, 0, rank=1).is_file()
    assert_same(tables_of(study, tmp_path / "team"), tables_of(alone, tmp_path / "alone"))
