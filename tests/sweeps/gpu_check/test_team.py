"""A team learns what one worker learns, through Ray, and every line can fail."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from portal.storage.checkpoint import save_checkpoint
from sweeps.gpu_check import team
from sweeps.gpu_check.team import Trained, check_team
from sweeps.gpu_check.world import CheckWorld
from sweeps.store.run_store import STATE, PackStore
from sweeps.store.session import Session
from tests.support.findings import levels


def trained(loss: float, *, wall_s: float = 5.0, drifted: int = 0) -> Trained:
    """What a team has learnt: as much of one task as one worker, and so much of the other."""
    return Trained({("a", "first", "test"): 1.0, ("a", "second", "test"): loss}, wall_s, drifted)


ONE = trained(1.0, wall_s=10.0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckWorld:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return CheckWorld("cpu", tmp_path)


@pytest.mark.chaos
@pytest.mark.ray
def test_a_worker_per_base_learns_what_one_worker_does_also_when_one_is_killed(
    ray_cluster: str, world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a worker per base"
    monkeypatch.setattr(team, "_TEAMS", {name: team._TEAMS[name]})

    found = list(check_team(world))

    assert [each.what for each in found] == [
        f"{name}: losses off those of one worker",
        f"{name}: replicas that drifted apart",
        f"{name}: training time over that of one worker",
        f"{name}: workers that were killed on purpose",
        f"{name}, one of them killed: losses off those of one worker",
    ]
    assert [each.level for each in (*found[:2], *found[3:])] == ["PASS"] * 4
    assert [found[place].value for place in (0, 3, 4)] == [0.0, 1.0, 0.0]
    assert found[2].value is not None
    assert found[2].value > 0.3  # two workers cannot be three times as fast as one


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        (trained(1.001), "losses off those of one worker"),
        (trained(float("nan")), "losses off those of one worker"),
        (trained(1.0, drifted=1), "replicas that drifted apart"),
        (trained(1.0, wall_s=9.0), "training time over that of one worker"),
    ],
)
def test_a_team_that_learns_something_else_drifts_or_waits_is_found(
    world: CheckWorld, found: Trained, failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "_train", lambda world, sources, workers, out: ONE if workers == 1 else found)

    lines = levels(team._beside_one_worker(world, "team", ["a"], 2))

    assert [what for what, level in lines.items() if level != "PASS"] == [f"team: {failed}"]


def test_a_killed_team_that_learns_something_else_is_found(
    world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_in = {"alone": ONE, "team": trained(1.0), "broken": trained(1.1)}
    monkeypatch.setattr(
        team,
        "_train",
        lambda world, sources, workers, out: trained_in[out.name],
    )

    lines = levels(team._beside_one_worker(world, "team", ["a"], "bases"))

    assert {what: level for what, level in lines.items() if level != "PASS"} == {
        "team: workers that were killed on purpose": "WARN",  # there was none
        "team, one of them killed: losses off those of one worker": "FAIL",
    }


def test_the_worker_that_is_killed_is_at_work_and_has_saved_its_pack(tmp_path: Path) -> None:
    session = Session(tmp_path, "0123456789abcdef")
    with subprocess.Popen(["sleep", "600"]) as worker:
        try:
            with team.killing_a_worker(tmp_path) as killed:
                session.write_progress(0, {"pack": "one that has not begun"})
                session.write_progress(1, {"pack": "one at work", "pid": worker.pid})
                time.sleep(0.5)
                assert worker.poll() is None  # before it has saved anything
                save_checkpoint(PackStore(tmp_path).pack_folder("0123456789abcdef") / STATE, 1, {}, {})
                assert worker.wait(300) == -signal.SIGKILL
            assert killed == [worker.pid]
        finally:
            worker.kill()


def test_what_a_team_needs_and_is_not_there_is_said(
    world: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    (elsewhere,) = check_team(world)
    monkeypatch.setattr(CheckWorld, "workers", 1)
    (alone,) = check_team(world)
    monkeypatch.setattr(team, "find_spec", lambda name: None)
    (without,) = check_team(world)

    assert {each.level for each in (elsewhere, alone, without)} == {"SKIP"}
    assert "RAY_ADDRESS" in elsewhere.note
    assert "one CPU core" in alone.note
    assert "Ray is not installed" in without.note
