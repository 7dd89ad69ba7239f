"""Atomic checkpoints: safetensors and JSON under a manifest of digests, written whole or not at all.

A checkpoint is a folder named by its sequence number. It is written under a temporary name, flushed to disk
and renamed; a reader believes it only when every file matches the manifest. No pickle is written or read.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from portal.messages import one_line
from portal.storage.atomic import remove_folder, remove_leftovers, write_folder
from portal.storage.paths import Folder

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
    write_folder(final, _encode(tensors, meta), check_permit=check_permit)
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


def _encode(tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> dict[str, bytes]:
    """A checkpoint's files, the manifest last."""
    contents = {
        _TENSORS: save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}),
        _META: json.dumps(meta, sort_keys=True).encode(),
    }
    manifest = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    return {**contents, _MANIFEST: json.dumps(manifest, sort_keys=True).encode()}


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
