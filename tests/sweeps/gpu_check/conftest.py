"""The world of the checks on this CPU, whose bases and rows all tests here share; short steps and rates."""

from pathlib import Path

import pytest

from sweeps.gpu_check import rates, speed
from sweeps.gpu_check.world import CheckWorld


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> CheckWorld:
    return CheckWorld("cpu", tmp_path_factory.mktemp("checked"))


@pytest.fixture(autouse=True)
def _no_test_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a check finds is kept in this cache, where plans of other tests would read it."""
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fresh(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> CheckWorld:
    """The same world with bases of its own, which a test may spoil."""
    monkeypatch.setattr(checked, "_bases", {})
    return checked


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pack, one timed step and one scored task; small products, copies and writes."""
    monkeypatch.setattr(speed, "ADAPTED", {"q and v": ("q", "v")})
    for kind in ("cuda", "cpu", "cpu in bf16"):
        monkeypatch.setitem(speed._COUNTS, kind, (1,))
        monkeypatch.setitem(speed._STEPS, kind, 1)
        monkeypatch.setitem(speed._RECOMPUTING, kind, ())
        monkeypatch.setitem(speed._SCORED_TASKS, kind, ("copa",))
    monkeypatch.setattr(rates, "_CPU_WIDTH", 128)
    monkeypatch.setattr(rates, "_TRIES", 1)
    monkeypatch.setattr(rates, "_COPIED_BYTES", 2**20)
    monkeypatch.setattr(rates, "_WRITTEN_BYTES", 2**16)
