"""`Reporter`: reports the evaluations of a study's runs to one tracker, as a process of its own.

The run folders are the truth: the reporter reads them, and remembers in the output folder what the tracker
has heard, so that the next launch reports the rest. supervisor.py starts and wakes it.
"""

import json
import os
import re
import select
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import fsum
from typing import Any

from portal.config import RunConfig
from portal.frozen import content_key
from portal.results import ACC_NORM
from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder, local_place, open_folder
from sweeps.results.live import evaluated_parts, live_rows
from sweeps.store.lease import LeaseLost, read_holder
from sweeps.store.run_store import RunStore
from sweeps.study.manifest import StudyManifest, read_manifest
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackers import find_tracker

FOLDER = "trackers"
POLL_S = 10.0
SYNC, FINISH = "sync", "finish"
FAILED = 3
"""Exit code of a process that has written its trouble into its record; Python's own after an error is 1."""
_METRICS = ("acc_norm", "acc", "log_loss")
_COSTS = ("train_tokens", "train_flops", "wall_s")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_. -]+")
"""Characters that not all trackers take in a name: a base or a task may be a path."""
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL")


class Reporter:
    """Reports to one tracker, and remembers what it has reported.

    The record has, by run key, the run's id there, whether its config is there, the epochs and the state
    reported (`done`, `failed` or null), and `trouble`: what the tracker's process ended with, or null.
    `check_permit` raises when another reporter may be at work; it is called before anything is reported or
    recorded.
    """

    def __init__(
        self,
        out: Folder,
        manifest: StudyManifest,
        tracker: Tracker,
        check_permit: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._manifest, self._tracker = RunStore(out), manifest, tracker
        self._check_permit = check_permit
        self._path = record_path(out, manifest.name, type(tracker))
        self._reported: dict[str, dict[str, Any]] = read_record(self._path)["runs"]
        self._open: set[str] = set()
        self._seen: dict[str, int] = {}  # parts of a run in training that have been read

    def report(self) -> None:
        """Report all epochs and ends that are new.

        A run that the tracker refuses does not hold up the others: the first error is raised in the end.
        """
        finished = self._store.finished_keys()
        parts = evaluated_parts(self._store)
        refusals: list[Exception] = []
        for run in self._manifest.runs:
            try:
                if run.key in finished:
                    self._report_ended(run)
                elif parts.get(run.key, 0) != self._seen.get(run.key, 0):
                    self._report_epochs(run, state=None)
                    self._seen[run.key] = parts.get(run.key, 0)
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - the first is raised below, all are tried again
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def close(self) -> None:
        self._tracker.close()

    def _report_ended(self, run: RunConfig) -> None:
        record = self._reported.get(run.key)
        if record is not None and record["state"] == "done":
            return
        failure = self._store.failure(run.key)
        if failure is not None and failure["lost"]:  # it is tried again
            self._report_epochs(run, state=None)
        elif failure is None or record is None or record["state"] != "failed":
            self._report_epochs(run, state="done" if failure is None else "failed")

    def _report_epochs(self, run: RunConfig, *, state: str | None) -> None:
        epochs = self._read_epochs(run)
        record = self._reported.get(run.key, {"id": None, "configured": False, "epochs": [], "state": None})
        fresh = [epoch for epoch in sorted(epochs) if epoch not in record["epochs"]]
        if not fresh and state == record["state"]:
            return
        config = {"label": self._manifest.labels[run.key], **flatten(run.model_dump(mode="json"))}
        with self._recording(run.key, record):
            if run.key not in self._open:
                self._check_permit()
                record["id"] = self._tracker.open(run.key, run.describe(), config, record["id"])
                self._open.add(run.key)
            if not record["configured"]:
                self._check_permit()
                self._tracker.configure(run.key, config)
                record["configured"] = True
            for epoch in fresh:
                self._check_permit()
                self._tracker.log(run.key, epoch, epochs[epoch])
                record["epochs"].append(epoch)
                record["state"] = None  # one that was tried again has not ended
            if state is not None:
                self._check_permit()
                self._tracker.end(run.key, failed=state == "failed")
                self._open.discard(run.key)
                record["state"] = state

    def _read_epochs(self, run: RunConfig) -> dict[int, dict[str, float]]:
        """Metrics by epoch, of the splits of which all tasks are there.

        Tasks of unlike length end their epochs at unlike steps, so an epoch may come in several parts.
        """
        rows: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
        for row in live_rows(self._store, run.key):
            rows[row["epoch"], row["split"]].append(row)
        number = len(run.data.tasks) * len(run.bases)
        whole: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for (epoch, _), of_split in rows.items():
            if len(of_split) == number:
                whole[epoch] += of_split
        return {epoch: epoch_metrics(of_epoch) for epoch, of_epoch in whole.items()}

    @contextmanager
    def _recording(self, key: str, record: dict[str, Any]) -> Iterator[None]:
        """Record what the block has reported, however it ends, unless another reporter is at work."""
        try:
            yield
        finally:
            if record["id"] is not None:
                self._check_permit()
                self._reported[key] = record
                write_json_atomic(self._path, {"runs": self._reported, "trouble": None})


def epoch_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of one epoch's result rows: means over tasks and bases, each task, the costs until then.

    `test/acc_norm`, `test_acc_norm/TASK` (`test_acc_norm/BASE/TASK` with several bases), `cost/train_flops`:
    no name lies below another one, which some stores would not keep. Where a task has written answers there
    is a `score`, by the metric of each task; that task has no `acc_norm` and `acc`.
    """
    several = len({row["base"] for row in rows}) > 1
    metrics: dict[str, float] = {}
    for split in sorted({row["split"] for row in rows}):
        of_split = [row for row in rows if row["split"] == split]
        has_written = any(row["metric"] != ACC_NORM for row in of_split)
        for metric in ("score", *_METRICS) if has_written else _METRICS:
            measured = [row for row in of_split if row[metric] is not None]
            if measured:
                metrics[f"{split}/{metric}"] = fsum(row[metric] for row in measured) / len(measured)
            for row in measured:
                names = (row["base"], row["task"]) if several else (row["task"],)
                place = "/".join(_UNUSUAL.sub("-", name).strip("-") for name in names)
                metrics[f"{split}_{metric}/{place}"] = row[metric]
    for cost in _COSTS:
        known = [row[cost] for row in rows if row[cost] is not None]
        if known:
            metrics[f"cost/{cost}"] = float(max(known))
    return metrics


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; lists as text, unset ones left out."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = json.dumps(value)
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def record_path(out: Folder, study: str, kind: type[Tracker]) -> Folder:
    """The record of what a tracker, at the address it has now, has heard of a study in `out`."""
    address = content_key(kind.address())[:8]
    return out / FOLDER / f"{kind.name}.{study}.{address}.json"


def read_record(path: Folder) -> dict[str, Any]:
    """The record, `{"runs", "trouble"}`; empty before the first launch."""
    try:
        record = json.loads(path.read_bytes())
        return {"runs": dict(record["runs"]), "trouble": record["trouble"]}
    except FileNotFoundError:
        return {"runs": {}, "trouble": None}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"{path}: not readable; delete it, and all runs are logged anew") from None


def without_secrets(text: str) -> str:
    """One line without user names and passwords of addresses, and without what secret variables hold."""
    line = re.sub(r"//[^/\s]*@", "//", " ".join(text.split()))
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= 6:
            line = line.replace(value, f"${name}")
    return line


def main(arguments: Sequence[str]) -> int:
    """`OUT STUDY TRACKER TOKEN`: report on every line `sync` and every POLL_S, and once more on `finish`.

    It ends when its driver does, or when the lease with that token is another's.
    """
    out, study, name, token = arguments
    folder = open_folder(out)
    kind = find_tracker(name)

    def check_lease() -> None:
        if read_holder(folder).get("token") != token:
            raise LeaseLost(f"{folder}: the driver that started this process is gone")

    try:
        tracker = kind(study, local_place(folder) / FOLDER)
        reporter = Reporter(folder, read_manifest(folder, study), tracker, check_lease)
        for word in _words():
            check_lease()
            reporter.report()
            if word == FINISH:
                reporter.close()
                break
        return 0
    except LeaseLost:
        return 0
    except Exception as error:  # the boundary of the process: its driver says what it was
        if read_holder(folder).get("token") != token:  # the record is another's
            raise
        path = record_path(folder, study, kind)
        trouble = without_secrets(f"{type(error).__name__}: {error}")
        write_json_atomic(path, {**read_record(path), "trouble": trouble})
        return FAILED


def _words() -> Iterator[str]:
    """FINISH as soon as the driver has said it, else SYNC when it has said anything or POLL_S have passed.

    Ends when the driver is gone.
    """
    heard = b""
    while True:
        ready, _, _ = select.select([sys.stdin], [], [], POLL_S)
        if not ready:
            yield SYNC
            continue
        said = os.read(sys.stdin.fileno(), 65536)
        heard += said
        *words, heard = heard.split(b"\n")
        if FINISH.encode() in words:
            yield FINISH
        elif words:
            yield SYNC
        if not said:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
