"""Checkpoints on the disk that is checked are timed, and training that stops for long is found."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from torch import Tensor

from portal.storage.checkpoint import load_latest
from sweeps.gpu_check import checkpoints
from sweeps.gpu_check.checkpoints import check_checkpoints, tensors_of
from sweeps.gpu_check.world import CheckWorld
from sweeps.store.run_store import STATE, PackStore, RunStore
from sweeps.worker.pack_checkpoint import CheckpointWriter, PackCheckpoint


class Usage(NamedTuple):
    """What a full disk says."""

    total: int
    used: int
    free: int


def test_a_checkpoint_is_timed_and_removed(
    checked: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = checked.pack(["hypernet"], "fp32")
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 1e6)  # a machine that stalls stops training, too

    written, stopped = check_checkpoints(pack, tmp_path, "a pack")

    num_bytes = sum(each.nbytes for each in tensors_of(pack).values())
    assert written.what == f"a pack: a checkpoint of {num_bytes / 2**20:.0f} MiB, until it is on the disk"
    assert written.value is not None
    assert written.value > 0
    assert (stopped.level, stopped.bound) == ("PASS", "at most 0.02")
    assert list(tmp_path.iterdir()) == []


def test_what_is_timed_is_all_that_a_workers_checkpoint_holds(checked: CheckWorld, tmp_path: Path) -> None:
    pack = checked.pack(["lora", "hypernet"], "fp32")
    store = PackStore(tmp_path)
    PackCheckpoint(RunStore(tmp_path), store, "0123456789abcdef").save(pack.learners, {}, lambda: None)

    saved = load_latest(store.pack_folder("0123456789abcdef") / STATE)

    assert saved is not None
    timed = tensors_of(pack)
    assert {name: each.nbytes for name, each in saved.tensors.items()} == {
        name: each.nbytes for name, each in timed.items()
    }


def test_copies_that_hold_training_up_are_found(
    checked: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = CheckpointWriter.start

    def wait(
        writer: CheckpointWriter,
        sequence: int,
        tensors: Mapping[str, Tensor],
        meta: dict[str, object],
        check_permit: Callable[[], None],
    ) -> None:
        time.sleep(0.1)
        start(writer, sequence, tensors, meta, check_permit)

    monkeypatch.setattr(CheckpointWriter, "start", wait)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_S", 1.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_RATIO", 0)

    _, stopped = check_checkpoints(checked.pack(["hypernet"], "fp32"), tmp_path, "a pack")

    assert (stopped.level, stopped.note) == ("WARN", "copies to this machine's memory are slow")


def test_a_disk_without_room_is_told(
    checked: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**30, 2**30, 0))

    (line,) = check_checkpoints(checked.pack(["lora"], "fp32"), tmp_path, "a pack")

    assert line.level == "SKIP"
    assert "no room for 3 of them" in line.note
