"""`Folder`: where files are kept, on a file system or in an object store, and how they are read."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from portal.frozen import content_key
from portal.storage.object_store import ObjectPath, is_url

Folder = Path | ObjectPath
HASHED_AT_ONCE = 4
"""Files whose digests are computed at the same time."""


def open_folder(text: str) -> Folder:
    """The folder of that path, or at that URL of an object store; ValueError for a URL of another kind."""
    if is_url(text):
        return ObjectPath.open(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):
        raise ValueError(f"{text}: no folder and no URL like s3://bucket/folder or gs://bucket/folder")
    return Path(text)


def cache_folder() -> Path:
    """`$PORTAL_CACHE`, else `portal` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if os.environ.get("PORTAL_CACHE"):
        return Path(os.environ["PORTAL_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portal"


def local_place(folder: Folder) -> Path:
    """Where this machine keeps what only it needs, logs and locks: the folder itself, if it is local."""
    if isinstance(folder, Path):
        return folder
    return cache_folder() / "stores" / content_key(str(folder))


def folder_contents(folder: Folder) -> dict[str, bytes]:
    """All files below, by their names from there."""
    return {name: path.read_bytes() for name, path in files_below(folder).items()}


def matching(folder: Folder, pattern: str) -> list[Folder]:
    """Files and folders below whose names match the pattern part by part, sorted."""
    found: list[Folder] = list(folder.glob(pattern))
    return sorted(found, key=str)


def files_below(folder: Folder) -> dict[str, Folder]:
    """Every file below, by its name from there, sorted."""
    start = len(f"{folder}/")
    found: list[Folder] = list(folder.rglob("*"))
    files = [path for path in found if isinstance(path, ObjectPath) or path.is_file()]
    return {str(path)[start:]: path for path in sorted(files, key=str)}


@contextmanager
def fetched(folder: Folder) -> Iterator[Path]:
    """The folder on this machine while the block lasts: itself, or a copy of what a store has."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="portal-") as scratch:
        for name, path in files_below(folder).items():
            copy = Path(scratch, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
        yield Path(scratch)


def file_sha256(path: Folder) -> str:
    """Hex sha256 of the file's bytes."""
    with path.open_bytes() if isinstance(path, ObjectPath) else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Sequence[Folder]) -> list[str]:
    """Hex sha256 of each file's bytes; several are read at once, hashing waits for no other thread."""
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        return list(pool.map(file_sha256, paths))
