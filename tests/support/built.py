"""Folders that take seconds to train, built once for a tree and read by every process of the tests."""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".pytest_cache" / "built für alle"
_SOURCES = ("portal", "sweeps", "tests/support", "tests/conftest.py")
_READ = {".py", ".yaml", ".json", ".parquet"}
_KEPT_S = 24 * 3600
"""Folders of sources that have changed since are removed when they are older."""


def built_once(name: str, build: Callable[[Path], object]) -> Path:
    """The folder that `build` fills, by whichever process is first. All others wait for it and only read."""
    folder = PLACE / _digest() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _remove_old()
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@cache
def _digest() -> str:
    """Of all that such a folder comes from."""
    digest = hashlib.sha256(" ".join(map(version, ("torch", "transformers", "pyarrow"))).encode())
    for source in _SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                content = file.read_bytes() if file.suffix in _READ else str(file.stat().st_size).encode()
                digest.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _remove_old() -> None:
    for other in PLACE.iterdir():
        if other.name != _digest() and other.stat().st_mtime < time.time() - _KEPT_S:
            shutil.rmtree(other, ignore_errors=True)
