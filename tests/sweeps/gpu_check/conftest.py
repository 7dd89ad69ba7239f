"""The world of the checks on this CPU, whose bases and rows all tests here share."""

import pytest

from sweeps.gpu_check.world import CheckWorld


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> CheckWorld:
    return CheckWorld("cpu", tmp_path_factory.mktemp("checked"))


@pytest.fixture
def fresh(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> CheckWorld:
    """The same world with bases of its own, which a test may spoil."""
    monkeypatch.setattr(checked, "_bases", {})
    return checked
