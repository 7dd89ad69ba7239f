"""`RunStore` and `PackStore`: folders of single runs, kept for ever, and of packs, until their runs are done.

runs/<key>/run.json, artifact/, results.parquet, predictions.parquet, machine.json, DONE.json or FAILED.json
packs/<key>/pack.json, state/<sequence>/, parts/, answers/
"""

import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from portal.config import RunConfig
from portal.frozen import content_key
from portal.storage.atomic import write_json_atomic
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, file_sha256, files_below, matching
from portal.storage.records import DONE, RUN, Record, read_json, read_marker, write_marker
from sweeps.store.provenance import provenance

AGAIN = "delete the folder that it lies in and run again"
_KEY = re.compile(r"[0-9a-f]{16}")


def checked_key(key: str) -> str:
    """The key, which is known to lead to nothing outside the output folder."""
    assert _KEY.fullmatch(key), f"{key!r} is no content key"
    return key


def read_record(path: Folder) -> dict[str, Any] | None:
    """The JSON object in the file, or None when it is not there; ValueError for anything else."""
    return read_json(path, what="a run's record", remedy=f"delete the folder {path.parent} and run again")


class Circumstances(Record):
    """How the process computed, and what it adapted.

    Another number of CPU `threads` adds in another order. `operations` of the bases that it held are plain or
    fused, which round differently; in bf16 on a CPU that is also the backward of attention. `coverage` is a
    sentence for each base where a module that the run adapts is not in every layer. `peak_bytes` are the most
    memory that it has held: on a GPU since the pack began, of torch's tensors, else of the whole process.
    `log` names the file in the folder's `logs` that has its records, and `device` the kind of device. Runs of
    earlier versions did not record all of it.
    """

    WHAT, REMEDY = "a run's record", AGAIN

    threads: int | None = None
    operations: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    peak_bytes: int | None = None
    log: str | None = None
    device: str | None = None


class RunFailure(Record):
    """Why a run has no result, and the log to read. `lost`: its worker died; the next launch tries again.

    `asked` is what people wanted, where that ended it.
    """

    WHAT, REMEDY = "a failure's marker of this version", AGAIN

    cause: str
    log: str
    lost: bool = False
    asked: Literal["pause", "stop"] | None = None


LISTING_S = 10.0
_FAILED, _CIRCUMSTANCES = "FAILED.json", "machine.json"


class RunStore:
    """The run folders below `out`. Names are content keys, so nothing leaves the folder."""

    def __init__(self, out: Folder) -> None:
        self.out = out

    def run_folder(self, key: str) -> Folder:
        """The folder of the run; there may be none yet."""
        return self.out / "runs" / checked_key(key)

    def is_done(self, key: str) -> bool:
        """Whether the run has its marker and every file that the marker names; a store loses none."""
        digests, folder = self.digests(key), self.run_folder(key)
        if digests is None or isinstance(folder, ObjectPath):
            return digests is not None
        return all((folder / name).is_file() for name in digests)

    def digests(self, key: str) -> dict[str, str] | None:
        """sha256 of every file of a finished run, by path below its folder; None while it is not finished."""
        return read_marker(self.run_folder(key))

    def failure(self, key: str) -> RunFailure | None:
        """What made the run fail, or None."""
        return RunFailure.read(self.run_folder(key) / _FAILED)

    def finished_keys(self) -> set[str]:
        """Keys of all runs with a marker, done or failed."""
        markers = [*matching(self.out, f"runs/*/{DONE}"), *matching(self.out, f"runs/*/{_FAILED}")]
        return {path.parent.name for path in markers}

    def begun(self) -> Iterator[RunConfig]:
        """All recorded runs."""
        return (self.read_run(path.parent.name) for path in matching(self.out, f"runs/*/{RUN}"))

    def is_finished(self, key: str) -> bool:
        """Whether the run is done or failed, and nothing of it is left to do."""
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
        content = read_record(path)
        if content is None:
            raise ValueError(f"{path}: missing; launch the study again to write it anew")
        run = RunConfig.model_validate(content.get("config", {}))
        if run.key != key:
            raise ValueError(f"{self.run_folder(key) / RUN}: holds the config of run {run.key}")
        return run

    def provenance(self, key: str) -> dict[str, Any]:
        """The code that started the run: `versions` by package, and `git`, None outside a checkout."""
        content = read_record(self.run_folder(key) / RUN) or {}
        return {"versions": content.get("versions", {}), "git": content.get("git")}

    def note_circumstances(self, key: str, circumstances: Circumstances) -> None:
        """Record what the process that finishes the run alone knows."""
        circumstances.write(self.run_folder(key) / _CIRCUMSTANCES)

    def circumstances(self, key: str) -> Circumstances:
        """What the process that finished the run knew; empty where an earlier version did."""
        return Circumstances.read(self.run_folder(key) / _CIRCUMSTANCES) or Circumstances()

    def mark_done(self, key: str) -> None:
        """Write the marker, last of all: from now on the run is finished."""
        folder = self.run_folder(key)
        files = {name: path for name, path in files_below(folder).items() if name not in (DONE, _FAILED)}
        digests = {name: file_sha256(path) for name, path in files.items()}
        (folder / _FAILED).unlink(missing_ok=True)
        write_marker(folder, digests)

    def mark_failed(
        self,
        key: str,
        cause: str,
        log: Path,
        *,
        lost: bool = False,
        asked: Literal["pause", "stop"] | None = None,
    ) -> None:
        """Record why the run ended."""
        failure = RunFailure(cause=cause, log=str(log), lost=lost, asked=asked)
        failure.write(self.run_folder(key) / _FAILED)

    def keeps_state(self, key: str) -> bool:
        """Whether the run's checkpoint is still wanted: it is not finished, or only paused."""
        failure = self.failure(key)
        return not self.is_done(key) if failure is None else failure.asked == "pause"

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


class FinishedRuns:
    """Which runs are finished, as one driver's lanes and progress ask again and again.

    A run that was finished once is not looked up again: only another launch forgets a failure. In an object
    store, where every look is a request, all are listed at once, not more often than every `LISTING_S`.
    """

    def __init__(self, store: RunStore, known: Iterable[str] = ()) -> None:
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


_PACK = "pack.json"


class PackRecord(Record):
    """pack.json: the run keys of one pack, fixed when it first starts."""

    WHAT = "a pack's record"
    REMEDY = AGAIN

    runs: tuple[str, ...]


STATE, PARTS, ANSWERS = UNFINISHED = ("state", "parts", "answers")
"""Folders of a pack: checkpoints, scores and answers, which nobody needs once its runs are finished."""


class PackStore:
    """The pack folders below `out`."""

    def __init__(self, out: Folder) -> None:
        self.out = out

    def pack_folder(self, key: str) -> Folder:
        """The folder of the pack; there may be none yet."""
        return self.out / "packs" / checked_key(key)

    def recorded_packs(self) -> dict[str, tuple[str, ...]]:
        """The run keys of every pack that was ever started, by pack key, in a fixed order."""
        keys = [path.parent.name for path in matching(self.out, f"packs/*/{_PACK}")]
        return {key: members for key in keys if (members := self.recorded_pack(key)) is not None}

    def recorded_pack(self, key: str) -> tuple[str, ...] | None:
        """The run keys of one pack; None for a pack that was never started."""
        record = PackRecord.read(self.pack_folder(key) / _PACK)
        return None if record is None else record.runs

    def record_pack(self, key: str, runs: Sequence[str]) -> None:
        """Fix who is in the pack, so that a resumed pack has the same rounding as an unbroken one."""
        path = self.pack_folder(key) / _PACK
        if not path.exists():
            PackRecord(runs=tuple(runs)).write(path)

    def newest_checkpoints(self) -> dict[str, str]:
        """The name of every unfinished pack's newest checkpoint, by pack key."""
        states = matching(self.out, f"packs/*/{STATE}/[0-9]*")
        return {path.parent.parent.name: path.name for path in states}

    def num_answer_pieces(self, key: str) -> int:
        """How many pieces of answers evaluations of the pack have left."""
        return len(matching(self.pack_folder(key) / ANSWERS, "*/*.json"))

    def newest_checkpoint(self, key: str) -> str:
        """The name of the pack's newest checkpoint, `0` before the first."""
        states = matching(self.pack_folder(key) / STATE, "[0-9]*")
        return states[-1].name if states else "0"


def pack_key(keys: Sequence[str]) -> str:
    """Identity of a pack: the runs in it, in order."""
    return content_key("\n".join(keys))
