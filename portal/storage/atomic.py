"""Writes that are whole or not at all, to a file system or an object store; locks and removal."""

import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, folder_contents

_STALE_READS = 5
_MACHINE = secrets.token_hex(4)
"""Of this program's start: processes of several machines, and of several containers, have equal numbers."""


def aside(path: Path, kind: str = "") -> Path:
    """Where this process makes what is to appear at `path`: no other does, on whatever machine it runs."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_MACHINE}.{kind}tmp")


def write_bytes_atomic(path: Folder, data: bytes) -> None:
    """Write `data` to `path` whole: temporary name, flush to disk, rename; or one object."""
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside(path)
    with naming(temporary), temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def write_json_atomic(path: Folder, value: Any) -> None:
    """Write `value` as indented JSON, whole."""
    write_bytes_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_note(path: Folder, text: str) -> None:
    """Whole, but not flushed to disk: for what the next moment replaces."""
    if isinstance(path, ObjectPath):
        path.write_bytes(text.encode())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = aside(path)
    temporary.write_text(text)
    temporary.replace(path)


def read_replaced(path: Folder) -> bytes:
    """The bytes of a file that others replace: over NFS, one that is replaced once it is open is stale."""
    for _ in range(_STALE_READS):
        try:
            return path.read_bytes()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return path.read_bytes()


def create_exclusive(path: Folder, data: bytes) -> bool:
    """Write the file whole unless there is one; False when there is. Of many writers one gets True."""
    if isinstance(path, ObjectPath):
        return path.create(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        Path(temporary).unlink()
    return True


def write_folder(
    folder: Folder, contents: Mapping[str, bytes], *, check_permit: Callable[[], None] = lambda: None
) -> None:
    """Files by name as one folder: on a file system it appears whole; in a store the last file comes last.

    A folder of that name is replaced. `check_permit` is called just before the folder or the last file
    appears; it raises when that must not be.
    """
    if isinstance(folder, ObjectPath):
        for number, (name, data) in enumerate(contents.items(), start=1):
            if number == len(contents):
                check_permit()
            (folder / name).write_bytes(data)
        return
    with new_folder(folder, check_permit=check_permit) as place:
        for name, data in contents.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            with naming(place / name):
                (place / name).write_bytes(data)


@contextmanager
def new_folder(
    folder: Folder, *, last: str = "", check_permit: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """An empty folder of this machine, which becomes `folder` as a whole when the block ends.

    An older one is replaced; where nothing is written, there is none. A store gets the file `last` after all
    others. `check_permit` is called just before an older folder goes, and in a store before the last file
    appears; it raises when that must not be.
    """
    if isinstance(folder, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="portal-") as scratch:
            place = Path(scratch, folder.name)
            place.mkdir()
            yield place
            check_permit()
            remove_folder(folder)
            contents = folder_contents(place)
            in_order = {name: contents[name] for name in sorted(contents, key=lambda name: name == last)}
            write_folder(folder, in_order, check_permit=check_permit)
        return
    place = aside(folder)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    yield place
    for path in (*place.rglob("*"), place):
        sync(path)
    check_permit()
    remove_folder(folder)
    if any(place.iterdir()):
        place.rename(folder)
        sync(folder.parent)
    else:
        place.rmdir()


def replace_link(place: Path, target: Path) -> None:
    """Make `place` a symbolic link to `target`, relative to its folder; an older link is replaced whole."""
    temporary = aside(place)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, place.parent))
    temporary.replace(place)


def remove_folder(folder: Folder) -> None:
    """Delete the folder.

    It is renamed first, so a crash never leaves a half-deleted folder under its name.
    """
    if isinstance(folder, ObjectPath):
        folder.remove()
        return
    doomed = aside(folder, "old.")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed)


def remove_leftovers(folder: Folder) -> None:
    """Delete the half-written files that killed writers left in this folder."""
    if isinstance(folder, Path):
        for path in folder.glob(".*.tmp"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """One process of this machine at a time is in the block of this lock file; others wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync(path: Path) -> None:
    """Flush what is written under this name, a file or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An I/O error that says where, and of a full disk how much it has left."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            reason += f" ({free} bytes free); nothing finished is lost: make room and run again"
        raise OSError(error.errno, reason, str(path)) from None
