"""The world of the device that is checked; with PORTAL_TEST_GPU=1 its tests are marked `gpu`.

On a CPU the tests only show that they can pass and fail: `make nightly` runs them there.
"""

from pathlib import Path

import pytest

from sweeps.gpu_check.world import CheckWorld
from tests.support.devices import DEVICE, DeviceWorld
from tests.support.environment import gpu_allowed


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [each for each in items if each.path.is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.nightly)
        if gpu_allowed() and "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def _device(tmp_path_factory: pytest.TempPathFactory) -> DeviceWorld:
    return DeviceWorld(DEVICE, tmp_path_factory.mktemp("device"))


@pytest.fixture(scope="session")
def _cpu(tmp_path_factory: pytest.TempPathFactory) -> DeviceWorld:
    return DeviceWorld("cpu", tmp_path_factory.mktemp("cpu"))


@pytest.fixture
def world(_device: DeviceWorld) -> DeviceWorld:
    """The GPU that the tests may see, else this CPU. A test that asks for it runs in `make test-gpu`."""
    return _device


@pytest.fixture
def faulty(_cpu: DeviceWorld, monkeypatch: pytest.MonkeyPatch) -> DeviceWorld:
    """This CPU with bases of its own, which a test spoils to see that a check can fail."""
    monkeypatch.setattr(_cpu, "_bases", {})
    return _cpu


@pytest.fixture
def taken_for_a_gpu(faulty: DeviceWorld, monkeypatch: pytest.MonkeyPatch) -> DeviceWorld:
    """The same with the bounds of a GPU, though it computes on the CPU."""
    monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))
    monkeypatch.setattr(CheckWorld, "workers", 2)
    return faulty


@pytest.fixture(autouse=True)
def _no_test_leaves_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
