"""A writer that is killed loses nothing, and one whose checkpoints are not written whole is found."""

import time
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from portal.storage.checkpoint import save_checkpoint
from sweeps.gpu_check import writers
from sweeps.gpu_check.world import CheckWorld
from sweeps.gpu_check.writers import Save, check_killed_writer
from tests.support.findings import levels

pytestmark = pytest.mark.slow


def write_in_place(folder: Path, sequence: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """The newest lies where the ones before it lay; the third is never finished."""
    save_checkpoint(folder, 1, tensors, meta)
    if sequence > 2:
        (folder / f"{1:010d}" / "tensors.safetensors").write_bytes(b"half of it")
        time.sleep(600)


def write_other_numbers(
    folder: Path, sequence: int, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Whole, but not what was to be written."""
    for tensor in tensors.values():
        tensor[0] = -1.0
    save_checkpoint(folder, sequence, tensors, meta)


def hang(folder: Path, sequence: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    time.sleep(600)


def fail(folder: Path, sequence: int, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    raise SystemExit(f"checkpoint {sequence} cannot be written")


def test_a_killed_writer_loses_nothing_that_it_had_written(checked: CheckWorld) -> None:
    found = list(check_killed_writer(checked))

    assert [each.level for each in found] == ["PASS"] * 3
    assert found[0].value is not None
    assert found[0].value >= 2
    assert not any(checked.out.glob(".gpu-check-*"))


def test_checkpoints_that_are_written_in_place_are_lost_and_that_is_found(checked: CheckWorld) -> None:
    found = levels(check_killed_writer(checked, save=write_in_place))

    assert found["checkpoints that a process had written when it was killed"] == "PASS"
    assert found["checkpoints that were lost with it"] == "FAIL"


def test_numbers_that_a_disk_changes_are_found(checked: CheckWorld) -> None:
    found = list(check_killed_writer(checked, save=write_other_numbers))

    assert [(each.level, each.value) for each in found[1:]] == [("PASS", 0), ("FAIL", 1)]


@pytest.mark.parametrize("save", [fail, hang])
def test_a_writer_that_cannot_write_is_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch, save: Save
) -> None:
    monkeypatch.setattr(writers, "_MEETING_S", 20.0 if save is hang else 600.0)
    started = time.monotonic()

    found = list(check_killed_writer(checked, save=save))

    assert time.monotonic() - started < 300

    assert [each.level for each in found] == ["FAIL", "PASS"]
