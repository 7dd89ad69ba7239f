"""`RunStore`: the run folders below an output folder and their markers, kept for ever.

runs/<key>/run.json, artifact/, results.parquet, predictions.parquet, machine.json, DONE.json or FAILED.json
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from portal.config import RunConfig
from portal.storage.atomic import write_json_atomic
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder, file_sha256, files_below, matching
from portal.storage.run_folder import DONE, RUN, read_marker, write_marker
from sweeps.store.circumstances import Circumstances
from sweeps.store.json_record import checked_key, read_record
from sweeps.store.provenance import provenance

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

    def failure(self, key: str) -> dict[str, Any] | None:
        """What made the run fail, or None."""
        return read_record(self.run_folder(key) / _FAILED)

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
        write_json_atomic(self.run_folder(key) / _CIRCUMSTANCES, circumstances.to_json())

    def circumstances(self, key: str) -> Circumstances:
        """What the process that finished the run knew; empty where an earlier version did."""
        return Circumstances.from_json(read_record(self.run_folder(key) / _CIRCUMSTANCES) or {})

    def mark_done(self, key: str) -> None:
        """Write the marker, last of all: from now on the run is finished."""
        folder = self.run_folder(key)
        files = {name: path for name, path in files_below(folder).items() if name not in (DONE, _FAILED)}
        digests = {name: file_sha256(path) for name, path in files.items()}
        (folder / _FAILED).unlink(missing_ok=True)
        write_marker(folder, digests)

    def mark_failed(
        self, key: str, cause: str, log: Path, *, lost: bool = False, asked: str | None = None
    ) -> None:
        """Record why the run ended. `lost`: its worker died, the next launch tries again.

        `asked` is what people wanted, `pause` or `stop`, where that ended it.
        """
        record = {"cause": cause, "log": str(log), "lost": lost}
        write_json_atomic(
            self.run_folder(key) / _FAILED, record if asked is None else {**record, "asked": asked}
        )

    def keeps_state(self, key: str) -> bool:
        """Whether the run's checkpoint is still wanted: it is not finished, or only paused."""
        failure = self.failure(key)
        return not self.is_done(key) if failure is None else failure.get("asked") == "pause"

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
