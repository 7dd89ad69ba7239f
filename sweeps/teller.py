"""`Teller`: what is evaluated of a study's runs, told to one tracker. Run as a process: see run_feed.py.

The run folders are the truth: the teller reads them, and remembers in the output folder what the tracker has
been told, so that the next launch tells the rest.
"""

import json
import os
import re
import select
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import fsum
from typing import Any

from portal.config import RunConfig
from portal.folder import Folder, local_place, open_folder, write_json_atomic
from sweeps.lease import read_holder
from sweeps.live_results import evaluated_parts, live_rows
from sweeps.roster import Roster, read_roster
from sweeps.store import Store
from sweeps.trackers import Tracker, find_tracker

FOLDER = "trackers"
POLL_S = 10.0
TELL, END = "tell", "end"
_METRICS = ("acc_norm", "acc", "log_loss")
_COSTS = ("train_tokens", "train_flops", "wall_s")
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL")


class Teller:
    """One tracker and what it has been told.

    The record has, by run key, the run's id there, the epochs told and the state told (`done`, `failed` or
    null), and `trouble`: what the tracker's process ended with, or null.
    """

    def __init__(self, out: Folder, roster: Roster, tracker: Tracker) -> None:
        self._store, self._roster, self._tracker = Store(out), roster, tracker
        self._path = record_path(out, tracker.name)
        self._told: dict[str, dict[str, Any]] = read_record(self._path)["runs"]
        self._open: set[str] = set()
        self._seen: dict[str, int] = {}  # parts of a run in training that have been read

    def tell(self) -> None:
        """Tell of all epochs and ends that are new."""
        finished = self._store.finished_keys()
        parts = evaluated_parts(self._store)
        for run in self._roster.runs:
            if run.key in finished:
                self._tell_ended(run)
            elif parts.get(run.key, 0) != self._seen.get(run.key, 0):
                self._tell_epochs(run, state=None)
                self._seen[run.key] = parts.get(run.key, 0)

    def close(self) -> None:
        self._tracker.close()

    def _tell_ended(self, run: RunConfig) -> None:
        told = self._told.get(run.key)
        if told is not None and told["state"] == "done":
            return
        failure = self._store.failure(run.key)
        if failure is not None and failure["lost"]:  # it is tried again
            self._tell_epochs(run, state=None)
        elif failure is None or told is None or told["state"] != "failed":
            self._tell_epochs(run, state="done" if failure is None else "failed")

    def _tell_epochs(self, run: RunConfig, *, state: str | None) -> None:
        epochs = self._read_epochs(run, whole=state is None)
        told = self._told.get(run.key, {"id": None, "epochs": [], "state": None})
        fresh = [epoch for epoch in sorted(epochs) if epoch not in told["epochs"]]
        if not fresh and state == told["state"]:
            return
        with self._remembering(run.key, told):
            if run.key not in self._open:
                config = {"label": self._roster.labels[run.key], **flatten(run.model_dump(mode="json"))}
                told["id"] = self._tracker.open(run.key, run.describe(), config, told["id"])
                self._open.add(run.key)
            for epoch in fresh:
                self._tracker.log(run.key, epoch, epochs[epoch])
                told["epochs"].append(epoch)
            if state is not None:
                self._tracker.end(run.key, failed=state == "failed")
                self._open.discard(run.key)
                told["state"] = state

    def _read_epochs(self, run: RunConfig, *, whole: bool) -> dict[int, dict[str, float]]:
        """Metrics by epoch, of a run in training only where all tasks of a split are there.

        Tasks of unlike length end their epochs at unlike steps, so an epoch may come in several parts.
        """
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in live_rows(self._store, run.key):
            rows[row["epoch"]].append(row)
        number = len(run.data.tasks) * len(run.bases)
        return {
            epoch: epoch_metrics(of_epoch)
            for epoch, of_epoch in rows.items()
            if not whole or len(of_epoch) == number * len({row["split"] for row in of_epoch})
        }

    @contextmanager
    def _remembering(self, key: str, told: dict[str, Any]) -> Iterator[None]:
        """What was told is recorded however it ends."""
        try:
            yield
        finally:
            if told["id"] is not None:
                self._told[key] = told
                write_json_atomic(self._path, {"runs": self._told, "trouble": None})


def epoch_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The metrics of one epoch's result rows: means over tasks and bases, each task, the costs until then.

    `test/acc_norm`, `test_acc_norm/TASK` (`test_acc_norm/BASE/TASK` with several bases), `cost/train_flops`:
    no name lies below another one, which some stores would not keep.
    """
    several = len({row["base"] for row in rows}) > 1
    metrics: dict[str, float] = {}
    for split in sorted({row["split"] for row in rows}):
        of_split = [row for row in rows if row["split"] == split]
        for metric in _METRICS:
            metrics[f"{split}/{metric}"] = fsum(row[metric] for row in of_split) / len(of_split)
            for row in of_split:
                place = f"{row['base']}/{row['task']}" if several else row["task"]
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


def record_path(out: Folder, tracker: str) -> Folder:
    """Where is recorded what the tracker has been told of the runs in `out`."""
    return out / FOLDER / f"{tracker}.json"


def read_record(path: Folder) -> dict[str, Any]:
    """`{"runs", "trouble"}`; empty before the first launch."""
    try:
        record = json.loads(path.read_bytes())
        return {"runs": dict(record["runs"]), "trouble": record["trouble"]}
    except FileNotFoundError:
        return {"runs": {}, "trouble": None}
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ValueError(f"{path}: not readable; delete it, and all runs are logged anew") from None


def without_secrets(text: str) -> str:
    """One line without user names and passwords of addresses, and without what secret variables hold."""
    line = re.sub(r"//[^/@\s]+@", "//", " ".join(text.split()))
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= 6:
            line = line.replace(value, f"${name}")
    return line


def main(arguments: Sequence[str]) -> int:
    """`OUT STUDY TRACKER TOKEN`: tell on every line `tell` and every POLL_S, and once more on `end`.

    It ends when its driver does, or when the lease with that token is another's.
    """
    out, study, name, token = arguments
    folder = open_folder(out)
    path = record_path(folder, name)
    try:
        tracker = find_tracker(name)(study, local_place(folder) / FOLDER)
        teller = Teller(folder, read_roster(folder, study), tracker)
        for word in _words():
            if read_holder(folder).get("token") != token:
                return 0
            teller.tell()
            if word == END:
                teller.close()
                return 0
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary of the process: its driver says what it was
        trouble = without_secrets(f"{type(error).__name__}: {error}")
        write_json_atomic(path, {**read_record(path), "trouble": trouble})
        return 1


def _words() -> Iterator[str]:
    """What the driver says, and TELL after every POLL_S of silence, until it is gone."""
    heard = b""
    while True:
        while b"\n" in heard:
            word, _, heard = heard.partition(b"\n")
            yield word.decode()
        ready, _, _ = select.select([sys.stdin], [], [], POLL_S)
        if not ready:
            yield TELL
            continue
        said = os.read(sys.stdin.fileno(), 4096)
        if not said:
            return
        heard += said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
