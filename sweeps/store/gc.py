"""Garbage of an output folder: state of finished runs, leftovers of processes that were killed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from portal.storage.atomic import remove_folder
from portal.storage.paths import Folder
from sweeps.store.lease import TAKEOVERS, acquire, has_live_driver
from sweeps.store.run_store import UNFINISHED, PackStore, RunStore
from sweeps.store.session import SESSION_FOLDERS


@dataclass(frozen=True)
class Garbage:
    """A file or folder that can go, its size, and why nothing needs it."""

    path: Folder
    num_bytes: int
    why: str


def find_garbage(out: Folder) -> list[Garbage]:
    """List everything below `out` that nothing will read again, largest first; nothing is deleted.

    While a driver works there, its claims and its half-written files are not garbage.
    """
    return _find(out, is_in_use=has_live_driver(out))


def _find(out: Folder, *, is_in_use: bool) -> list[Garbage]:
    candidates = _of_finished_runs(out) if is_in_use else chain(_of_finished_runs(out), _of_dead_drivers(out))
    found = {path: why for path, why in candidates if path.exists()}
    outer = [path for path in found if not any(parent in found for parent in path.parents)]
    garbage = [Garbage(path, _size(path), found[path]) for path in outer]
    return sorted(garbage, key=lambda each: (-each.num_bytes, each.path))


def delete_garbage(out: Folder) -> list[Garbage]:
    """Delete the garbage as the only driver of the folder; ValueError while another one works there."""
    with acquire(out):
        garbage = _find(out, is_in_use=False)
        for each in garbage:
            if each.path.is_file():
                each.path.unlink()
            else:
                remove_folder(each.path)
    return garbage


def _of_finished_runs(out: Folder) -> Iterator[tuple[Folder, str]]:
    store, packs = RunStore(out), PackStore(out)
    for key, members in packs.recorded_packs().items():
        if all(store.is_done(member) for member in members):
            for name in UNFINISHED:
                yield packs.pack_folder(key) / name, "optimiser states, scores and answers of finished runs"


def _of_dead_drivers(out: Folder) -> Iterator[tuple[Folder, str]]:
    for name in (*SESSION_FOLDERS, TAKEOVERS):
        yield out / name, "of a driver that is gone"
    for path in out.rglob(".*.tmp"):
        yield path, "half written by a process that was killed"


def _size(path: Folder) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
