"""A checkpoint is whole or passed over, whatever happened to the files or the process."""

import errno
import json
import logging
import os
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from safetensors import SafetensorError

from portal.storage.atomic import write_bytes_atomic, write_json_atomic
from portal.storage.checkpoint import load_latest, save_checkpoint
from portal.storage.paths import file_sha256

FILES = ("tensors.safetensors", "meta.json", "manifest.json")


def save(folder: Path, sequence: int) -> Path:
    tensors = {"value": torch.full((3, 4), float(sequence)), "steps": torch.tensor(sequence)}
    return save_checkpoint(folder, sequence, tensors, {"step": sequence})


def latest_step(folder: Path) -> int | None:
    checkpoint = load_latest(folder)
    if checkpoint is None:
        return None
    assert checkpoint.meta["step"] == checkpoint.sequence
    assert checkpoint.tensors["value"].eq(checkpoint.sequence).all()
    return checkpoint.sequence


def test_tensors_and_meta_come_back_bit_for_bit_in_their_dtypes(tmp_path: Path) -> None:
    tensors = {
        "fp32": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
        "bf16": torch.randn(7).bfloat16(),
        "fp16": torch.randn(2, 2).half(),
        "int64": torch.tensor([-(2**62), 3]),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
        "strided": torch.arange(12.0).view(3, 4).T,
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    meta = {"step": 3, "wall_s": 0.1 + 0.2, "scored": [["sums", 1]], "none": None}

    save_checkpoint(tmp_path, 3, tensors, meta)

    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.sequence, loaded.meta) == (3, meta)
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = loaded.tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape), name
        assert bits(found) == bits(tensor), name


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def test_the_newest_two_are_kept_and_one_written_again_is_replaced_as_a_whole(tmp_path: Path) -> None:
    assert load_latest(tmp_path / "nowhere") is load_latest(tmp_path) is None
    for sequence in (1, 2, 9, 10, 11):
        save(tmp_path, sequence)

    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [10, 11]
    assert latest_step(tmp_path) == 11
    save_checkpoint(tmp_path, 11, {"other": torch.tensor(1.0)}, {"again": True})
    loaded = load_latest(tmp_path)
    assert loaded is not None
    assert (loaded.meta, list(loaded.tensors)) == ({"again": True}, ["other"])


def test_a_disk_that_is_full_while_tensors_are_written_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What safetensors raises then, taken from a small disk that was full."""
    save(tmp_path, 1)
    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    monkeypatch.setattr("portal.storage.checkpoint.save_file", Mock(side_effect=full))

    with pytest.raises(OSError, match=r"No space left on device \(\d+ bytes free\)") as raised:
        save(tmp_path, 2)

    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename.endswith("tensors.safetensors")
    assert latest_step(tmp_path) == 1


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    data = (newest / name).read_bytes()
    middle = len(data) // 2
    for damaged in (None, b"", data[:middle], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]):
        (newest / name).unlink() if damaged is None else (newest / name).write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="portal.storage.checkpoint"):
            assert latest_step(tmp_path) == 1
        (message,) = caplog.messages
        assert str(newest) in message
        assert "\n" not in message
    (tmp_path / "0000000001" / name).write_bytes(b"torn")
    assert load_latest(tmp_path) is None


@pytest.mark.parametrize("name", FILES)
def test_no_single_flipped_bit_goes_unnoticed(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, 7) / name
    data = path.read_bytes()

    for position in range(0, len(data), 7):
        altered = bytearray(data)
        altered[position] ^= 1 << position % 8
        path.write_bytes(altered)
        assert load_latest(tmp_path) is None, f"bit {position % 8} of byte {position}"


def test_what_a_killed_writer_left_is_ignored_and_then_cleared(tmp_path: Path) -> None:
    save(tmp_path, 1)
    left = tmp_path / ".0000000002.4242.tmp"
    left.mkdir()
    (left / "tensors.safetensors").write_bytes(b"half")

    assert latest_step(tmp_path) == 1
    save(tmp_path, 2)

    assert latest_step(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000000001", "0000000002"]


@pytest.mark.parametrize("written", range(6))
def test_a_save_that_fails_at_any_flush_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    save(tmp_path, 1)
    flush = os.fsync
    calls = []

    def disk_full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > written:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", disk_full)
    if written < 5:  # three files, their folder, the folder above
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path, 2)
    else:
        save(tmp_path, 2)
    monkeypatch.undo()

    assert latest_step(tmp_path) == (1 if written < 4 else 2)
    save(tmp_path, 3)
    assert latest_step(tmp_path) == 3
    assert not list(tmp_path.glob(".*"))


def test_a_file_is_written_whole_or_stays_as_it_was_and_leaves_no_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deeper" / "value.json"
    write_bytes_atomic(path, b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    write_json_atomic(path, {"b": 1, "a": [None]})
    before = path.read_bytes()
    assert [path.name for path in path.parent.iterdir()] == ["value.json"]
    assert json.loads(before) == {"a": [None], "b": 1}
    assert before.endswith(b"\n")

    def disk_full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_bytes_atomic(path, b"new")
    assert path.read_bytes() == before
