"""What an output folder no longer needs: state of finished runs, leftovers of writers that were killed."""

from collections.abc import Iterator
from dataclasses import dataclass

from portal.storage.atomic import remove_folder
from portal.storage.paths import Folder
from sweeps.store.lease import acquire
from sweeps.store.run_store import Store


@dataclass(frozen=True)
class Garbage:
    """A file or folder that can go, its size, and why nothing needs it."""

    path: Folder
    num_bytes: int
    why: str


def find_garbage(out: Folder) -> list[Garbage]:
    """Everything below `out` that nothing will read again, largest first; nothing is deleted."""
    found = {path: why for path, why in _candidates(out) if path.exists()}
    outer = [path for path in found if not any(parent in found for parent in path.parents)]
    garbage = [Garbage(path, _size(path), found[path]) for path in outer]
    return sorted(garbage, key=lambda each: (-each.num_bytes, each.path))


def delete_garbage(out: Folder) -> list[Garbage]:
    """Delete it, as the only driver of the folder; ValueError while another one works there."""
    with acquire(out):
        garbage = find_garbage(out)
        for each in garbage:
            if each.path.is_file():
                each.path.unlink()
            else:
                remove_folder(each.path)
    return garbage


def _candidates(out: Folder) -> Iterator[tuple[Folder, str]]:
    store = Store(out)
    for key, members in store.recorded_packs().items():
        if all(store.is_done(member) for member in members):
            for name in ("state", "parts"):
                yield store.pack_folder(key) / name, "optimiser states and scores of finished runs"
    for name in ("claims", "progress", "scratch"):
        yield out / name, "of a driver that is gone"
    for path in out.rglob(".*.tmp"):
        yield path, "half written by a process that was killed"


def _size(path: Folder) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
