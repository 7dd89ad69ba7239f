"""`TrackerSupervisor` and `TrackerSink`: a study's runs are reported to each tracker by a process of its own.

A tracker may hang, crash, print, or ask for a password: all of that happens in its process, whose `main` is
below. The run folders are the truth: the process reads them like anybody else, and remembers in the output
folder what the tracker has heard, so that the next launch reports the rest. The driver starts it, starts it
again, and waits a while for it in the end; no error of a tracker is raised there once the launch has begun.
"""

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import fsum
from typing import Any

from rich.console import Console

from portal.config import RunConfig
from portal.frozen import content_key
from portal.results import ACC_NORM
from portal.storage.paths import Folder, local_place, open_folder
from portal.storage.records import Record
from sweeps.results.live import live_rows
from sweeps.sinks.events import Ended, StudyEvents, WorkerLost
from sweeps.sinks.trackers import Tracker, find_tracker
from sweeps.store.lease import LeaseLost, read_holder
from sweeps.store.run_store import RunStore
from sweeps.study.manifest import StudyManifest, read_manifest

FOLDER = "trackers"
POLL_S = 10.0
LOOK_S = 1.0
"""Seconds between looks whether a tracker's process has ended."""
CLOSE_S = 60.0
"""How long the end of a launch waits for a tracker that has nothing new to show."""
BROKEN_OFF_S = 5.0
"""How long the end of a launch that was broken off waits for such a tracker."""
FAILED = 3
"""Exit code of a process that has written its trouble into its record; Python's own after an error is 1."""
_FINISH = b"finish"
_LONGEST_CLOSE_S, _SILENT_S = 1800.0, 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 600.0
_METRICS = ("acc_norm", "acc", "log_loss")
_COSTS = ("train_tokens", "train_flops", "wall_s")
_UNUSUAL = re.compile(r"[^A-Za-z0-9_. -]+")
"""Characters that not all trackers take in a name: a base or a task may be a path."""
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL")


class TrackerSupervisor:
    """The trackers of one launch.

    ValueError for a tracker that is unknown or cannot work, or whose record in the folder is not readable.
    """

    def __init__(self, out: Folder, study: str, names: Sequence[str], console: Console) -> None:
        self._console = console
        kinds = [find_tracker(name) for name in dict.fromkeys(names)]
        self._processes = [_SinkProcess(out, study, kind, console) for kind in kinds]

    def start(self, token: str) -> None:
        """Start the processes, under the lease of that token; the folder has the study's manifest by now."""
        for process in self._processes:
            process.start(token)

    def close(self, patience_s: float | None = None) -> None:
        """Let all report the rest; those that could not, or show no progress for so long, are named."""
        for process in self._processes:
            process.finish(CLOSE_S if patience_s is None else patience_s)
        for process in self._processes:
            if trouble := process.wait():
                self._console.print(
                    f"tracker {process.name}: not all of the study is logged ({trouble}); the same command "
                    "logs the rest",
                    markup=False,
                )


class _SinkProcess:
    """The process that reports to one tracker, and the thread that starts it again, ever later, where an
    error has ended it.
    """

    def __init__(self, out: Folder, study: str, kind: type[Tracker], console: Console) -> None:
        self.name, self._console = kind.name, console
        self._command = [sys.executable, "-m", __name__, str(out.resolve()), study, kind.name]
        self._record = record_path(out, study, kind)
        read_record(self._record)  # refused now rather than after the training
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble: str | None = None
        self._is_closing, self._patience_s = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look_after, name="portal-tracker", daemon=True)

    def start(self, token: str) -> None:
        self._command.append(token)
        self._thread.start()

    def finish(self, patience_s: float) -> None:
        """Ask it to report the rest and end."""
        self._patience_s = patience_s
        self._is_closing.set()

    def wait(self) -> str | None:
        """The reason why not all was reported, if any."""
        try:
            self._thread.join()
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
        return self._trouble

    def _look_after(self) -> None:
        try:
            process, pause_s = self._begin(), _FIRST_PAUSE_S
            while not self._is_closing.wait(LOOK_S):
                if process.poll() is not None and not self._is_closing.wait(pause_s):
                    process, pause_s = self._begin(), min(2 * pause_s, _LONGEST_PAUSE_S)
            self._trouble = self._end(process if process.poll() is None else self._begin())
        except OSError as error:
            self._trouble = f"its process could not be started: {error.strerror}"

    def _begin(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the driver's
        )
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> str | None:
        """Have it report the rest; why it could not."""
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended
            process.stdin.write(_FINISH)
        code = self._wait_while_it_reports(process)
        if code is None:
            return f"nothing new for {self._patience_s:.0f} s"
        if code == 0:
            return None
        try:
            told = read_record(self._record).trouble
        except (ValueError, OSError) as error:  # why the process could not write its trouble
            return str(error)
        return told if told and code == FAILED else f"its process ended with {code}"

    def _wait_while_it_reports(self, process: subprocess.Popen[bytes]) -> int | None:
        """The exit code; None when its record has not changed for so long."""
        started = changed = time.monotonic()
        seen, said = self._state(), False
        while (now := time.monotonic()) - changed < self._patience_s and now - started < _LONGEST_CLOSE_S:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
            if (state := self._state()) != seen:
                seen, changed = state, time.monotonic()
            if not said and now - started > _SILENT_S:
                self._console.print(f"tracker {self.name}: logging the rest", markup=False)
                said = True
        return None

    def _state(self) -> bytes:
        try:
            return self._record.read_bytes()
        except OSError:
            return b""


class TrackerRecord(Record):
    """What a tracker has heard: by run key the run's id there, whether its config is there, the epochs and
    the state reported (`done`, `failed` or null). `trouble` is what the tracker's process ended with.
    """

    WHAT = "a record of what a tracker has heard"
    REMEDY = "delete it, and all runs are logged anew"

    runs: dict[str, dict[str, Any]]
    trouble: str | None


class TrackerSink:
    """Reports the events of a study's runs to one tracker, and remembers what it has reported.

    `check_permit` raises when another process may be at work; it is called before anything is reported or
    recorded.
    """

    def __init__(
        self,
        out: Folder,
        manifest: StudyManifest,
        tracker: Tracker,
        check_permit: Callable[[], None] = lambda: None,
    ) -> None:
        self._events, self._tracker = StudyEvents(RunStore(out), manifest.runs), tracker
        self._labels, self._check_permit = manifest.labels, check_permit
        self._path = record_path(out, manifest.name, type(tracker))
        self._reported = read_record(self._path).runs

    def report(self) -> None:
        """Report all epochs and ends that are new.

        A run that the tracker refuses does not hold up the others: the first error is raised in the end.
        """
        refusals: list[Exception] = []
        for event in self._events.look():
            if isinstance(event, WorkerLost):
                continue
            failure = event.failure if isinstance(event, Ended) else None
            state = "done" if failure is None else "failed"
            has_ended = isinstance(event, Ended) and not (failure and failure.lost)  # then it is tried again
            try:
                self._report(event.run, state if has_ended else None)
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - the first is raised below, all are tried
                refusals.append(error)
        if refusals:
            raise refusals[0]

    def _report(self, run: RunConfig, state: str | None) -> None:
        """Report the epochs that are new, and the state in which the run has ended, if it has."""
        key, tracker = run.key, self._tracker
        record = self._reported.get(key, {"id": None, "configured": False, "epochs": [], "state": None})
        if state is not None and state == record["state"]:
            return
        epochs = self._read_epochs(run)
        fresh = [epoch for epoch in sorted(epochs) if epoch not in record["epochs"]]
        if not fresh and state is None:
            return
        config = {"label": self._labels[key], **flatten(run.model_dump(mode="json"))}
        try:
            if key not in tracker.runs:
                record["id"] = self._tell(tracker.open, key, run.describe(), config, record["id"])
            if not record["configured"]:
                self._tell(tracker.configure, key, config)
                record["configured"] = True
            for epoch in fresh:
                self._tell(tracker.log, key, epoch, epochs[epoch])
                record["epochs"].append(epoch)
                record["state"] = None  # one that was tried again has not ended
            if state is not None:
                self._tell(partial(tracker.end, failed=state == "failed"), key)
                record["state"] = state
        finally:
            if record["id"] is not None:
                self._check_permit()
                self._reported[key] = record
                TrackerRecord(runs=self._reported, trouble=None).write(self._path)

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self._check_permit()
        return call(*arguments)

    def _read_epochs(self, run: RunConfig) -> dict[int, dict[str, float]]:
        """Metrics by epoch, of the splits of which all tasks are there.

        Tasks of unlike length end their epochs at unlike steps, so an epoch may come in several parts.
        """
        rows = list(live_rows(self._events.store, run.key))
        scored = Counter((row["epoch"], row["split"]) for row in rows)
        number = len(run.data.tasks) * len(run.bases)
        whole: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            if scored[row["epoch"], row["split"]] == number:
                whole.setdefault(row["epoch"], []).append(row)
        return {epoch: epoch_metrics(of_epoch) for epoch, of_epoch in whole.items()}


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
        elif value is not None:
            flat[f"{prefix}{name}"] = json.dumps(value) if isinstance(value, list) else value
    return flat


def record_path(out: Folder, study: str, kind: type[Tracker]) -> Folder:
    """The record of what a tracker, at the address it has now, has heard of a study in `out`."""
    return out / FOLDER / f"{kind.name}.{study}.{content_key(kind.address())[:8]}.json"


def read_record(path: Folder) -> TrackerRecord:
    """The record; empty before the first launch."""
    return TrackerRecord.read(path) or TrackerRecord(runs={}, trouble=None)


def without_secrets(text: str) -> str:
    """One line without user names and passwords of addresses, and without what secret variables hold."""
    line = re.sub(r"//[^/\s]*@", "//", " ".join(text.split()))
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= 6:
            line = line.replace(value, f"${name}")
    return line


def main(arguments: Sequence[str]) -> int:
    """`OUT STUDY TRACKER TOKEN`: report every POLL_S, and once more when stdin says that the launch ends.

    It ends when its driver does, or when the lease with that token is another's.
    """
    out, study, name, token = arguments
    folder, kind = open_folder(out), find_tracker(name)

    def check_lease() -> None:
        if read_holder(folder).get("token") != token:
            raise LeaseLost(f"{folder}: the driver that started this process is gone")

    try:
        tracker = kind(study, local_place(folder) / FOLDER)
        sink = TrackerSink(folder, read_manifest(folder, study), tracker, check_lease)
        while not select.select([sys.stdin], [], [], POLL_S)[0]:
            check_lease()
            sink.report()
        if os.read(sys.stdin.fileno(), len(_FINISH)) == _FINISH:  # else its driver has died
            check_lease()
            sink.report()
            tracker.close()
        return 0
    except LeaseLost:
        return 0
    except Exception as error:  # the boundary of the process: its driver says what it was
        if read_holder(folder).get("token") != token:  # the record is another's
            raise
        path = record_path(folder, study, kind)
        trouble = without_secrets(f"{type(error).__name__}: {error}")
        read_record(path).model_copy(update={"trouble": trouble}).write(path)
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
