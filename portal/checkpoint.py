"""Atomic checkpoints: safetensors and JSON under a manifest of digests, written whole or not at all.

A checkpoint is a folder named by its sequence number. It is written under a temporary name, flushed to disk
and renamed; a reader believes it only when every file matches the manifest. No pickle is written or read.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

KEEP = 2
_TENSORS, _META, _MANIFEST = "tensors.safetensors", "meta.json", "manifest.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole, verified checkpoint."""

    sequence: int
    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]


def save_checkpoint(
    folder: Path, sequence: int, tensors: dict[str, torch.Tensor], meta: dict[str, Any]
) -> Path:
    """Write checkpoint `sequence` below `folder` and drop all but the newest two; returns its folder.

    Sequence numbers only grow: a number that exists already is replaced as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{sequence:010d}"
    temporary = folder / f".{sequence:010d}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    contents = {
        _TENSORS: save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}),
        _META: json.dumps(meta, sort_keys=True).encode(),
    }
    manifest = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    contents[_MANIFEST] = json.dumps(manifest, sort_keys=True).encode()
    for name, data in contents.items():
        _write_synced(temporary / name, data)
    sync(temporary)
    if final.exists():
        _remove(final)
    temporary.rename(final)
    sync(folder)
    _drop_old(folder)
    return final


def load_latest(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`, or None; damaged ones are passed over with a warning."""
    for path in sorted(_checkpoint_folders(folder), reverse=True):
        try:
            return _read(path)
        except (ValueError, OSError) as error:
            _log.warning("checkpoint %s is not whole, the one before it is used: %s", path, error)
    return None


def check_checkpoints(folder: Path) -> list[tuple[Path, str]]:
    """Every checkpoint below `folder` that is not whole, and why; nothing is changed."""
    faults = []
    for path in sorted(_checkpoint_folders(folder)):
        try:
            _read(path)
        except (ValueError, OSError) as error:
            faults.append((path, str(error)))
    return faults


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` whole: temporary name, flush to disk, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _write_synced(temporary, data)
    temporary.replace(path)
    sync(path.parent)


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole."""
    write_bytes_atomic(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def file_sha256(path: Path) -> str:
    """Hex sha256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Checkpoint:
    manifest = json.loads((path / _MANIFEST).read_bytes())
    contents = {}
    for name in (_TENSORS, _META):
        data = (path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.get(name):
            raise ValueError(f"{name} does not match its digest")
        contents[name] = data
    return Checkpoint(int(path.name), load(contents[_TENSORS]), json.loads(contents[_META]))


def _checkpoint_folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []


def _drop_old(folder: Path) -> None:
    for path in sorted(_checkpoint_folders(folder))[:-KEEP]:
        _remove(path)
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path) -> None:
    """Whole or not at all: a checkpoint's name never stands for part of one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    path.rename(aside)
    shutil.rmtree(aside)


def _write_synced(path: Path, data: bytes) -> None:
    with _naming(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Flush what is written under this name, a file or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with _naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An I/O error that says where, and of a full disk how much it has left."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            reason += f" ({free} bytes free); nothing finished is lost: make room and run again"
        raise OSError(error.errno, reason, str(path)) from None
