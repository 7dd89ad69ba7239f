"""Whether a folder can be, or is, a study's output folder."""

import errno
import os

from portal.storage.atomic import write_note
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder

SEARCH_FOLDER = "search"
"""In the output folder of a search: Optuna's storage, the record of its trials, the best study."""


def check_writable(out: Folder) -> None:
    """ValueError when files cannot be written below `out`."""
    probe = out / f".probe.{os.getpid()}"
    try:
        write_note(probe, "")
        probe.unlink()
    except OSError as error:
        raise ValueError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None


def check_usable(out: Folder) -> None:
    """ValueError when `out` cannot become an output folder; unlike `check_writable` it writes nothing."""
    if isinstance(out, ObjectPath):
        return
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    error = None if there.is_dir() else errno.ENOTDIR
    if error is None and not os.access(there, os.W_OK | os.X_OK):
        error = errno.EACCES
    if error is not None:
        raise ValueError(f"{out}: cannot be written ({os.strerror(error)}); choose another --out")


def check_exists(out: Folder) -> None:
    """ValueError when there is no folder `out`: nothing was ever launched there."""
    if not out.is_dir():
        raise ValueError(f"{out}: no such folder; check --out, or `portal sweep run` makes it")
