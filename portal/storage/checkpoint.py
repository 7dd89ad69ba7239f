"""Atomic checkpoints: safetensors and JSON under a manifest of digests, written whole or not at all.

A checkpoint is a folder named by its sequence number. It is written under a temporary name, flushed to disk
and renamed; a reader believes it only when every file matches the manifest. No pickle is written or read.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

from portal.messages import one_line
from portal.storage.atomic import naming, new_folder, remove_folder, remove_leftovers
from portal.storage.paths import Folder, file_sha256

KEEP = 2
_TENSORS, _META, _MANIFEST = "tensors.safetensors", "meta.json", "manifest.json"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole, verified checkpoint."""

    sequence: int
    tensors: dict[str, torch.Tensor]
    meta: dict[str, Any]


def save_checkpoint(
    folder: Folder,
    sequence: int,
    tensors: dict[str, torch.Tensor],
    meta: dict[str, Any],
    *,
    check_permit: Callable[[], None] = lambda: None,
) -> Folder:
    """Write checkpoint `sequence` below `folder` and drop all but the newest two; returns its folder.

    Sequence numbers only grow: a number that exists already is replaced as a whole. `check_permit` is called
    just before the checkpoint appears, and raises when it must not.
    """
    final = folder / f"{sequence:010d}"
    with new_folder(final, last=_MANIFEST, check_permit=check_permit) as place:
        _write_tensors(place / _TENSORS, tensors)
        with naming(place):
            (place / _META).write_text(json.dumps(meta, sort_keys=True))
            manifest = {name: file_sha256(place / name) for name in (_TENSORS, _META)}
            (place / _MANIFEST).write_text(json.dumps(manifest, sort_keys=True))
    for path in sorted(_checkpoint_folders(folder))[:-KEEP]:
        remove_folder(path)
    remove_leftovers(folder)
    return final


def load_latest(folder: Folder) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`, or None; damaged ones are passed over with a warning."""
    for path in sorted(_checkpoint_folders(folder), reverse=True):
        try:
            return _read(path)
        except (ValueError, OSError) as error:
            _log.warning("checkpoint %s is not whole, the one before it is used: %s", path, error)
    return None


def check_checkpoints(folder: Folder) -> list[tuple[Folder, str]]:
    """Every checkpoint below `folder` that is not whole, and why; nothing is changed."""
    faults = []
    for path in sorted(_checkpoint_folders(folder)):
        try:
            _read(path)
        except (ValueError, OSError) as error:
            faults.append((path, one_line(error)))
    return faults


def below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write them from where they lie, without a copy of all; an OSError when the disk refuses."""
    with naming(path):
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
        except SafetensorError as error:
            if (found := _OS_ERROR.search(str(error))) is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _read(path: Folder) -> Checkpoint:
    manifest = json.loads((path / _MANIFEST).read_bytes())
    contents = {}
    for name in (_TENSORS, _META):
        data = (path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest.get(name):
            raise ValueError(f"{name} does not match its digest")
        contents[name] = data
    return Checkpoint(int(path.name), load(contents[_TENSORS]), json.loads(contents[_META]))


def _checkpoint_folders(folder: Folder) -> list[Folder]:
    return [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
