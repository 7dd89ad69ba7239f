"""Workers load a base side by side while one of them verifies it, and a line says where they do not."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from portal.device import usable_cores
from sweeps.gpu_check import loading
from sweeps.gpu_check.loading import Lane, check_loading
from sweeps.gpu_check.world import CheckWorld
from tests.support.findings import levels


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckWorld]:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))
    world = CheckWorld("cpu", tmp_path, shape="mini-qwen3-xs")
    yield world
    assert not (tmp_path / "loading").exists()


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="two workers need two cores")
def test_two_processes_load_a_base_of_random_weights(world: CheckWorld) -> None:
    found = list(check_loading(world))

    assert [each.what for each in found] == [
        "mini-qwen3-xs: digest of its files",
        "mini-qwen3-xs: loading and verifying it",
        "mini-qwen3-xs: 2 workers over one, waiting for the digest",
        "mini-qwen3-xs: 2 workers over one, loading and verifying",
        "mini-qwen3-xs: 2 workers over one that writes as many files, writing to the disk",
    ]
    assert all(each.value is not None and each.value > 0 for each in found)
    assert {each.level for each in found} <= {"PASS", "WARN"}


@pytest.mark.parametrize(
    ("second", "warned_of"),
    [
        (Lane(1.2, 5.0, 0.4e9), []),
        (Lane(2.0, 5.0, 0.4e9), ["2 workers over one, waiting for the digest"]),
        (Lane(1.0, 9.0, 0.4e9), ["2 workers over one, loading and verifying"]),
        (Lane(1.0, 5.0, 0.3e9), ["2 workers over one that writes as many files, writing to the disk"]),
    ],
)
def test_workers_that_hold_each_other_up_are_found(
    world: CheckWorld, second: Lane, warned_of: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = [Lane(1.0, 4.0, 1e9), second]
    monkeypatch.setattr(loading, "_lanes", lambda world, ref, count: lanes[:count])

    found = levels(check_loading(world))

    warned = [what.removeprefix("mini-qwen3-xs: ") for what, level in found.items() if level == "WARN"]
    assert warned == warned_of


def test_one_worker_has_nothing_to_be_held_up_by(world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckWorld, "workers", 1)
    monkeypatch.setattr(loading, "_lanes", lambda world, ref, count: [Lane(1.0, 2.0, 1e9)] * count)

    found = levels(check_loading(world))

    assert found["mini-qwen3-xs: several workers over one"] == "SKIP"


def test_a_disk_without_room_is_a_line_of_its_own(world: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))

    (line,) = check_loading(world)

    assert line.level == "SKIP"
    assert "no room" in line.note
