"""Whether a folder is an output folder, and what it keeps for all its runs: precisions, device, weights."""

import errno
import os
from collections.abc import Mapping

from pydantic import TypeAdapter

from portal.config import BaseRef, DeviceKind, Precision
from portal.frozen import content_key
from portal.storage.atomic import write_json_atomic, write_note
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder
from portal.storage.records import Record
from sweeps.store.run_store import read_record

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


PRECISIONS_FILE = "precisions.json"
"""Kept for ever: whatever machine continues in the folder, runs keep their keys."""
_RECORD = TypeAdapter(dict[str, Precision])


def kept_precisions(out: Folder) -> dict[str, Precision]:
    """The precision of each base that was resolved in `out`; nothing before the first launch."""
    path = out / PRECISIONS_FILE
    try:
        return _RECORD.validate_python(read_record(path) or {})
    except ValueError:  # also pydantic's; the record's own advice is to delete its folder, here the study
        raise ValueError(f"{path}: not precisions by base; delete it and run again") from None


def keep_precisions(out: Folder, found: Mapping[str, Precision]) -> None:
    """Add bases that are new here; ValueError for one that was resolved otherwise before."""
    kept = kept_precisions(out)
    for base, precision in found.items():
        if kept.get(base, precision) != precision:
            raise ValueError(
                f"base {base!r}: precision 'auto' is {kept[base]!r} in {out}, not {precision!r}; name that "
                "folder as `out` where study or request is made"
            )
    if not found.keys() <= kept.keys():
        write_json_atomic(out / PRECISIONS_FILE, {**found, **kept})


_DEVICE_FILE = "device.json"
_NAMES: dict[DeviceKind, str] = {"cpu": "CPUs", "cuda": "GPUs"}


class UsedDevice(Record):
    """The kind of device of a folder's runs, and whether a launch with large bases asked for it by name.

    It is written when lanes start. A run has other numbers on the other kind: precision `default` is fp32 on
    a CPU and bf16 on a GPU.
    """

    WHAT = "a kind of device"
    REMEDY = "delete it and run again"

    device: DeviceKind
    named_for_large_bases: bool = False

    @classmethod
    def kept(cls, out: Folder) -> "UsedDevice | None":
        """The kind that was used last in `out`; None before the first launch."""
        return cls.read(out / _DEVICE_FILE)

    def keep(self, out: Folder) -> None:
        """Record that runs are computed on this kind from now on; that it was named holds as long."""
        if self.kept(out) not in (self, self.model_copy(update={"named_for_large_bases": True})):
            self.write(out / _DEVICE_FILE)


def check_device_kind(kept: DeviceKind | None, found: DeviceKind, out: Folder) -> None:
    """ValueError where runs in `out` were computed on another kind of device than this launch has."""
    if kept is None or kept == found:
        return
    instead = "--gpus N waits for GPUs, and --device cpu" if found == "cpu" else "--device cuda"
    raise ValueError(
        f"{out}: its runs were computed on {_NAMES[kept]}, and this launch is on {_NAMES[found]}, where "
        f"numbers differ; `portal sweep run` with {instead} goes on with {_NAMES[found]}"
    )


class BaseRecords:
    """bases/<key>.json below `out`: the digest of each hub base's weights, kept for ever."""

    def __init__(self, out: Folder) -> None:
        self._out = out

    def check(self, base: BaseRef, digest: str) -> None:
        """Record the digest of a base's weights, or compare it with the record: ValueError if they differ."""
        path, recorded = self._path(base), self.recorded(base)
        if recorded is None:
            write_json_atomic(path, {"base": base.name, "revision": base.revision, "weights_sha256": digest})
        elif recorded != digest:
            raise ValueError(
                f"base {base.name!r}: its weights are not those the study began with ({path}); the copy in "
                "the hub's cache is damaged: delete it, and it is fetched anew"
            )

    def recorded(self, base: BaseRef) -> str | None:
        """The digest of a hub base's weights that the first study here found."""
        record = read_record(self._path(base))
        return None if record is None else record["weights_sha256"]

    def _path(self, base: BaseRef) -> Folder:
        return self._out / "bases" / f"{content_key(f'{base.name} {base.revision}')}.json"
