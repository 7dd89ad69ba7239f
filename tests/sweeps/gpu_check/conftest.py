"""The world of the checks on this CPU, whose bases and rows all tests here share."""

from pathlib import Path

import pytest

from sweeps.gpu_check.world import CheckWorld
from tests.support.findings import shorten_check


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
    shorten_check(monkeypatch)
