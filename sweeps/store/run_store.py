"""`Store`: the run folders below an output folder, their markers, packs, claims and progress.

runs/<key>/run.json, artifact/, results.parquet, predictions.parquet, DONE.json or FAILED.json
packs/<key>/pack.json, state/<sequence>/, parts/
rows/<key>/          token caches
claims/<token>/      which lane of the present driver works on which pack
stops/               runs that the present driver wants to end early
progress/, logs/     for people
"""

import errno
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.config import BaseRef, RunConfig
from portal.storage.atomic import (
    create_exclusive,
    remove_folder,
    write_bytes_atomic,
    write_json_atomic,
    write_note,
)
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, file_sha256, files_below, local_place, matching
from portal.storage.run_folder import DONE, RUN, read_marker, write_marker
from sweeps.store.provenance import provenance

LISTING_S = 10.0
_KEY = re.compile(r"[0-9a-f]{16}")
SESSION_FOLDERS = ("claims", "progress", "scratch", "stops")
"""Folders of the driver that works now: nothing in them outlives it."""
_FAILED, _PACK = "FAILED.json", "pack.json"


class ClaimLost(RuntimeError):  # noqa: N818 - the established name of the event
    """Another worker has this pack now."""


@dataclass(frozen=True)
class Claim:
    """A pack taken by one attempt of one lane."""

    path: Folder
    lane: int
    attempt: str

    def check(self) -> None:
        """Raises ClaimLost when another attempt or lane has the pack."""
        holder = _read_json(self.path)
        if holder is None or holder["attempt"] != self.attempt:
            raise ClaimLost(f"{self.path.stem}: lane {self.lane} no longer has this pack")


class Store:
    """Everything below `out`. Names are content keys, so nothing leaves the folder."""

    def __init__(self, out: Folder) -> None:
        self.out = out

    def run_folder(self, key: str) -> Folder:
        return self.out / "runs" / _checked(key)

    def pack_folder(self, key: str) -> Folder:
        return self.out / "packs" / _checked(key)

    def log_path(self, lane: int, rank: int = 0) -> Path:
        """Of a worker of the lane: the leader of its team, or another."""
        name = f"lane-{lane}.{rank}.log" if rank else f"lane-{lane}.log"
        return local_place(self.out) / "logs" / name

    def is_done(self, key: str) -> bool:
        """Whether the run has its marker and every file that the marker names; a store loses none."""
        digests, folder = self.digests(key), self.run_folder(key)
        if digests is None or isinstance(folder, ObjectPath):
            return digests is not None
        return all((folder / name).is_file() for name in digests)

    def digests(self, key: str) -> dict[str, str] | None:
        """sha256 of every file of a finished run, by path below its folder; None while it is not finished."""
        return read_marker(self.run_folder(key))

    def failure(self, key: str) -> dict[str, Any] | None:
        """What made the run fail, or None."""
        return _read_json(self.run_folder(key) / _FAILED)

    def finished_keys(self) -> set[str]:
        """Keys of all runs with a marker, done or failed."""
        markers = [*matching(self.out, f"runs/*/{DONE}"), *matching(self.out, f"runs/*/{_FAILED}")]
        return {path.parent.name for path in markers}

    def is_finished(self, key: str) -> bool:
        """Done or failed: nothing is left to do."""
        return self.is_done(key) or self.failure(key) is not None

    def write_run(self, run: RunConfig) -> None:
        """Record the run's whole config and the code that starts it, unless that is there already."""
        path = self.run_folder(run.key) / RUN
        if not path.exists():
            config = run.model_dump(mode="json")
            write_json_atomic(path, {"name": run.describe(), "config": config, **provenance()})

    def read_run(self, key: str) -> RunConfig:
        """The recorded run; ValueError when it is missing or does not have this key."""
        path = self.run_folder(key) / RUN
        content = _read_json(path)
        if content is None:
            raise ValueError(f"{path}: missing; launch the study again to write it anew")
        run = RunConfig.model_validate(content.get("config", {}))
        if run.key != key:
            raise ValueError(f"{self.run_folder(key) / RUN}: holds the config of run {run.key}")
        return run

    def provenance(self, key: str) -> dict[str, Any]:
        """What code started the run: `versions` by package, and `git`, None outside a checkout."""
        content = _read_json(self.run_folder(key) / RUN) or {}
        return {"versions": content.get("versions", {}), "git": content.get("git")}

    def threads(self, key: str) -> int | None:
        """The CPU threads of the process that finished the run; None where the marker does not say."""
        return (_read_json(self.run_folder(key) / DONE) or {}).get("threads")

    def check_weights(self, base: BaseRef, digest: str) -> None:
        """Record the digest of a base's weights, or compare it with the record: ValueError if they differ."""
        path, recorded = self._weights_record(base), self.recorded_weights(base)
        if recorded is None:
            write_json_atomic(path, {"base": base.name, "revision": base.revision, "weights_sha256": digest})
        elif recorded != digest:
            raise ValueError(
                f"base {base.name!r}: its weights are not those the study began with ({path}); the copy in "
                "the hub's cache is damaged: delete it, and it is fetched anew"
            )

    def recorded_weights(self, base: BaseRef) -> str | None:
        """The digest of a hub base's weights that the first study here found."""
        record = _read_json(self._weights_record(base))
        return None if record is None else record["weights_sha256"]

    def _weights_record(self, base: BaseRef) -> Folder:
        name = hashlib.sha256(f"{base.name} {base.revision}".encode()).hexdigest()[:16]
        return self.out / "bases" / f"{name}.json"

    def mark_done(self, key: str, *, threads: int) -> None:
        """Write the marker, last of all: from now on the run is finished.

        It names every file with its digest, and the CPU threads of the process that finished the run: another
        number of threads adds in another order, so on a CPU results differ.
        """
        folder = self.run_folder(key)
        files = {name: path for name, path in files_below(folder).items() if name not in (DONE, _FAILED)}
        digests = {name: file_sha256(path) for name, path in files.items()}
        (folder / _FAILED).unlink(missing_ok=True)
        write_marker(folder, digests, threads=threads)

    def mark_failed(self, key: str, cause: str, log: Path, *, lost: bool = False) -> None:
        """Record why the run ended. `lost`: its worker died, the next launch tries again."""
        write_json_atomic(self.run_folder(key) / _FAILED, {"cause": cause, "log": str(log), "lost": lost})

    def forget_lost(self, keys: Iterable[str]) -> None:
        """Drop the markers of runs whose worker died."""
        self.forget_failed(key for key in keys if (self.failure(key) or {"lost": False})["lost"])

    def forget_failed(self, keys: Iterable[str]) -> None:
        """Drop the markers of failed runs: the next launch tries them again from their last checkpoint."""
        for key in keys:
            (self.run_folder(key) / _FAILED).unlink(missing_ok=True)

    def verify(self, key: str, names: Iterable[str]) -> None:
        """ValueError when one of the run's files is not what its marker says."""
        folder = self.run_folder(key)
        digests = self.digests(key) or {}
        for name in names:
            if file_sha256(folder / name) != digests.get(name):
                raise ValueError(
                    f"{folder / name}: altered since the run finished; delete {folder} and run again"
                )

    def recorded_packs(self) -> dict[str, tuple[str, ...]]:
        """The run keys of every pack that was ever started, by pack key, in a fixed order."""
        keys = [path.parent.name for path in matching(self.out, f"packs/*/{_PACK}")]
        return {key: members for key in keys if (members := self.recorded_pack(key)) is not None}

    def recorded_pack(self, key: str) -> tuple[str, ...] | None:
        """The run keys of one pack."""
        path = self.pack_folder(key) / _PACK
        record = _read_json(path)
        if record is None:
            return None
        runs = record.get("runs")
        if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
            raise ValueError(f"{path}: not a pack's record; delete the folder {path.parent} and run again")
        return tuple(runs)

    def record_pack(self, key: str, runs: Sequence[str]) -> None:
        """Fix who is in the pack, so that a resumed pack has the same rounding as an unbroken one."""
        path = self.pack_folder(key) / _PACK
        if not path.exists():
            write_json_atomic(path, {"runs": list(runs)})

    def claim(self, token: str, pack: str, lane: int, attempt: str) -> Claim | None:
        """The pack for this attempt of this lane, or None while another lane has it."""
        path = self.out / "claims" / _checked(token) / f"{_checked(pack)}.json"
        claim = Claim(path, lane, attempt)
        content = json.dumps({"lane": lane, "attempt": attempt}).encode()
        if not create_exclusive(path, content):
            holder = _read_json(path)
            if holder is None or holder["lane"] != lane:
                return None
            write_bytes_atomic(path, content)
        return claim

    def claimed_by(self, token: str, lane: int) -> list[str]:
        """Keys of the packs that the lane has taken."""
        paths = matching(self.out / "claims" / _checked(token), "*.json")
        return [path.stem for path in paths if (_read_json(path) or {"lane": None})["lane"] == lane]

    def free_claim(self, token: str, pack: str) -> bool:
        """Let another lane take the pack of a lane that is gone.

        False when it was lost before and nothing of it has been saved since: it would be lost without end.
        """
        path = self.out / "claims" / _checked(token) / f"{_checked(pack)}.json"
        lost = path.with_suffix(".lost")
        progress = self.pack_progress(pack)
        if lost.exists() and lost.read_text() == progress:
            return False
        write_note(lost, progress)
        path.unlink(missing_ok=True)
        return True

    def pack_progress(self, pack: str) -> str:
        """What is saved of a pack: its finished runs and its newest checkpoint. It differs after progress."""
        finished = sum(self.is_finished(key) for key in self.recorded_pack(pack) or ())
        saved = [path.name for path in matching(self.pack_folder(pack) / "state", "[0-9]*")]
        return f"{finished} {saved[-1] if saved else 0}"

    def newest_checkpoints(self) -> dict[str, str]:
        """The name of every unfinished pack's newest checkpoint, by pack key."""
        states = matching(self.out, "packs/*/state/[0-9]*")
        return {path.parent.parent.name: path.name for path in states}

    def clear_session_files(self) -> None:
        """Drop what earlier drivers have left: claims, progress, stops and Ray's own state."""
        for name in SESSION_FOLDERS:
            remove_folder(self.out / name)

    def note_team(self, token: str, lane: int, state: str) -> None:
        """Say of a lane of several workers that it is placed, or that it has ended."""
        write_note(self.out / "claims" / _checked(token) / f"{state.replace(' ', '-')}-{lane}", "")

    def teams_have(self, token: str, lanes: Iterable[int], state: str) -> bool:
        """Whether all these lanes are in the state, or have ended."""
        found = {path.name for path in matching(self.out / "claims" / _checked(token), "teams-*")}
        return all(
            f"{state.replace(' ', '-')}-{lane}" in found or f"teams-ended-{lane}" in found for lane in lanes
        )

    def forget_teams(self, token: str) -> None:
        """Before the lanes of another round."""
        for path in matching(self.out / "claims" / _checked(token), "teams-*"):
            path.unlink(missing_ok=True)

    def request_stop(self, keys: Iterable[str]) -> None:
        """Ask the workers of the present driver to leave these runs after their next evaluation."""
        for key in keys:
            write_note(self.out / "stops" / _checked(key), "")

    def stops(self) -> set[str]:
        """Keys of the runs that shall not go on."""
        return {path.name for path in (self.out / "stops").glob("*")}

    def write_progress(self, lane: int, progress: dict[str, Any]) -> None:
        """Cheap and whole, but not flushed to disk: it is only for people."""
        write_note(self.out / "progress" / f"lane-{lane}.json", json.dumps(progress))

    def write_lane_error(self, lane: int, error: str) -> None:
        """What ended the lane early, for whoever says why its runs have no result."""
        write_json_atomic(self.out / "progress" / f"error-{lane}.json", {"error": error})

    def lane_error(self, lane: int) -> str | None:
        """What ended the lane early, None when nothing did or its process was killed."""
        record = _read_json(self.out / "progress" / f"error-{lane}.json")
        return None if record is None else record["error"]

    def read_progress(self) -> list[dict[str, Any]]:
        records = (_read_json(path) for path in matching(self.out, "progress/lane-*.json"))
        return [record for record in records if record is not None]


class FinishedRuns:
    """Which runs are finished, as one driver's lanes and progress ask again and again.

    A run that was finished once is not looked up again: only another launch forgets a failure. In an object
    store, where every look is a request, all are listed at once, not more often than every `LISTING_S`.
    """

    def __init__(self, store: Store, known: Iterable[str] = ()) -> None:
        self._store = store
        self._known = set(known)
        self._listed = -math.inf

    def __contains__(self, key: str) -> bool:
        if key in self._known:
            return True
        if isinstance(self._store.out, ObjectPath):
            if time.monotonic() - self._listed >= LISTING_S:
                self._known |= self._store.finished_keys()
                self._listed = time.monotonic()
        elif self._store.is_finished(key):
            self._known.add(key)
        return key in self._known


def pack_key(keys: Sequence[str]) -> str:
    """Identity of a pack: the runs in it, in order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]


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


def _checked(key: str) -> str:
    assert _KEY.fullmatch(key), f"{key!r} is no content key"
    return key


def _read_json(path: Folder) -> dict[str, Any] | None:
    """The JSON object in the file, or None when it is not there; ValueError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError(
            f"{path}: not readable JSON; delete the folder {path.parent} and run again"
        ) from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object; delete the folder {path.parent} and run again")
    return value
