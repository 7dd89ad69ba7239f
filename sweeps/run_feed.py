"""`RunFeed`: what is evaluated of a study's runs, told to experiment trackers while they train.

The run folders are the truth: the feed reads them from the driver, and remembers in the output folder what a
tracker has been told, so that the next launch tells the rest and nothing twice.
"""

import contextlib
import io
import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from rich.console import Console

from portal.config import RunConfig
from portal.folder import Folder, local_place, write_json_atomic
from sweeps.live_results import evaluated_keys, live_rows
from sweeps.roster import Roster
from sweeps.store import Store
from sweeps.trackers import Tracker, open_tracker

POLL_S = 10.0
FOLDER = "trackers"
_METRICS = ("acc_norm", "acc", "log_loss")
_COSTS = ("train_tokens", "train_flops", "wall_s")
_log = logging.getLogger(__name__)


class RunFeed:
    """The runs of one study and the trackers that are told of them."""

    def __init__(self, out: Folder, roster: Roster, names: Sequence[str], console: Console) -> None:
        self._store, self._roster, self._console = Store(out), roster, console
        folder = local_place(out) / FOLDER
        self._subscriptions = [
            _Subscription(open_tracker(name, roster.name, folder), out, roster)
            for name in dict.fromkeys(names)
        ]
        self._polled = 0.0

    def poll(self) -> None:
        """Tell what is new, if the last time is POLL_S ago."""
        if self._subscriptions and time.monotonic() - self._polled >= POLL_S:
            self._tell()
            self._polled = time.monotonic()

    def close(self) -> None:
        """Tell all that is left, and close the trackers; a tracker that could not be told is named."""
        if not self._subscriptions:
            return
        self._tell()
        for subscription in self._subscriptions:
            subscription.close()
            if subscription.trouble is not None:
                self._console.print(
                    f"tracker {subscription.name}: not all of the study is logged ({subscription.trouble}); "
                    "the same command logs the rest"
                )

    def _tell(self) -> None:
        ended = self._store.finished_keys()
        present = ended | evaluated_keys(self._store)
        for subscription in self._subscriptions:
            for run in self._roster.runs:
                if run.key in present and run.key not in subscription.ended:
                    subscription.follow(run, self._store, over=run.key in ended)


class _Subscription:
    """One tracker and what it has been told: by run key its id there, the epochs, whether it has ended."""

    def __init__(self, tracker: Tracker, out: Folder, roster: Roster) -> None:
        self._tracker, self._roster = tracker, roster
        self._path = out / FOLDER / f"{tracker.name}.json"
        self._told: dict[str, dict[str, Any]] = _read(self._path)
        self._open: set[str] = set()
        self.ended = {key for key, told in self._told.items() if told["ended"]}
        self.trouble: str | None = None

    @property
    def name(self) -> str:
        return self._tracker.name

    def follow(self, run: RunConfig, store: Store, *, over: bool) -> None:
        """Tell of the epochs that are new, and of the end."""
        failure = store.failure(run.key) if over else None
        epochs = _read_epochs(store, run.key)
        told = self._told.get(run.key, {"id": None, "epochs": [], "ended": False})
        fresh = [epoch for epoch in sorted(epochs) if epoch not in told["epochs"]]
        leaves = over and not (failure or {}).get("lost", False)  # who was lost is tried again
        if not fresh and not leaves:
            return
        try:
            with contextlib.redirect_stdout(io.StringIO()) as said:  # ours holds results alone
                self._tell(run, told, {epoch: epochs[epoch] for epoch in fresh}, failure, leaves=leaves)
            self.trouble = None
        except self._tracker.failures as error:
            self.trouble = " ".join(str(error).split()) or type(error).__name__
            _log.warning("tracker %s: %s", self.name, self.trouble)
        finally:
            if told["id"] is not None:
                self._told[run.key] = told
                write_json_atomic(self._path, self._told)
        if said.getvalue().strip():
            _log.info("tracker %s: %s", self.name, said.getvalue().strip())

    def _tell(
        self,
        run: RunConfig,
        told: dict[str, Any],
        fresh: Mapping[int, Mapping[str, float]],
        failure: Mapping[str, Any] | None,
        *,
        leaves: bool,
    ) -> None:
        if run.key not in self._open:
            config = {"label": self._roster.labels[run.key], **_flat(run.model_dump(mode="json"))}
            told["id"] = self._tracker.open(run.key, run.describe(), config, told["id"])
            self._open.add(run.key)
        for epoch, metrics in fresh.items():
            self._tracker.log(run.key, epoch, metrics)
            told["epochs"].append(epoch)
        if leaves:
            self._tracker.end(run.key, failed=failure is not None)
            self._open.discard(run.key)
            self.ended.add(run.key)
            told["ended"] = True

    def close(self) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._tracker.close()
        except self._tracker.failures as error:
            self.trouble = " ".join(str(error).split()) or type(error).__name__


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


def _read_epochs(store: Store, key: str) -> dict[int, dict[str, float]]:
    """Metrics of a run by epoch."""
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in live_rows(store, key):
        rows[row["epoch"]].append(row)
    return {epoch: epoch_metrics(of_epoch) for epoch, of_epoch in rows.items()}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; lists as text, unset ones left out."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[f"{prefix}{name}"] = json.dumps(value)
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def _read(path: Folder) -> dict[str, dict[str, Any]]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError:
        raise ValueError(f"{path}: not readable JSON; delete it, and all runs are logged anew") from None
