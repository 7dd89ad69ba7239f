"""`StudyStatus`: which runs of a study are done, in training, failed or missing, read once from a folder."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from portal.config import RunConfig
from sweeps.store.lease import has_live_driver
from sweeps.store.run_store import RunStore
from sweeps.store.session import read_progress

RunState = Literal["done", "running", "failed", "paused", "stopped", "missing"]
_ENDS: dict[str | None, RunState] = {None: "failed", "pause": "paused", "stop": "stopped"}
"""What a run that ended before its end is called, by what people asked."""


@dataclass(frozen=True)
class RunFailure:
    """Why a run has no result, and the log to read. `lost`: its worker died; the next launch tries again.

    `asked` is what people wanted, `pause` or `stop`, where that ended it.
    """

    cause: str
    log: str
    lost: bool = False
    asked: str | None = None


@dataclass(frozen=True)
class StudyStatus:
    """The keys of a study's runs, each in one of four groups, in the order of the study.

    Runs that people have paused or stopped are among the `failed`: nobody trains them until they are retried.
    `running` are those that a live driver reports as in training; `missing` are all others without a marker.
    `stopped_by` names, for runs that cannot start, the failed run at the head of what they start from.
    """

    done: tuple[str, ...]
    running: tuple[str, ...]
    failed: Mapping[str, RunFailure]
    missing: tuple[str, ...]
    stopped_by: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, store: RunStore, runs: Iterable[RunConfig]) -> "StudyStatus":
        """The status now of `runs`, parents first.

        Markers are listed once, and each marker of these runs is read once.
        """
        runs = tuple(runs)
        keys = [run.key for run in runs]
        marked = store.finished_keys()
        done = [key for key in keys if key in marked and store.is_done(key)]
        left = set(keys) - set(done)
        failed = {
            key: failure
            for key in keys
            if key in left and key in marked and (failure := _read_failure(store, key)) is not None
        }
        left -= set(failed)
        training = left & _keys_in_training(store)
        left -= training
        return cls(
            done=tuple(done),
            running=tuple(key for key in keys if key in training),
            failed=failed,
            missing=tuple(key for key in keys if key in left),
            stopped_by=_stopped_by([run for run in runs if run.key in left], failed),
        )

    def refreshed(self, store: RunStore, runs: Sequence[RunConfig]) -> "StudyStatus":
        """The status of the same runs now; those that were done are not looked up again."""
        done = set(self.done)
        now = StudyStatus.read(store, [run for run in runs if run.key not in done])
        done.update(now.done)
        return replace(now, done=tuple(run.key for run in runs if run.key in done))

    @property
    def total(self) -> int:
        """Number of runs of the study."""
        return len(self.done) + len(self.running) + len(self.failed) + len(self.missing)

    @property
    def failed_for_good(self) -> tuple[str, ...]:
        """Keys of the failed runs that the next launch does not try again."""
        return tuple(key for key, failure in self.failed.items() if not failure.lost)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Keys of the runs that people have paused or stopped."""
        return tuple(key for key, failure in self.failed.items() if failure.asked is not None)

    @property
    def states(self) -> dict[str, RunState]:
        """The state of every run, by key."""
        groups: dict[RunState, tuple[str, ...]] = {
            "done": self.done,
            "running": self.running,
            "missing": self.missing,
        }
        told = {key: name for name, keys in groups.items() for key in keys}
        return told | {key: _ENDS[failure.asked] for key, failure in self.failed.items()}

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of all runs and of those in each group, with those that people left out apart."""
        return {
            "total": self.total,
            "done": len(self.done),
            "running": len(self.running),
            "failed": len(self.failed) - len(self.left_out),
            "paused": [*self.states.values()].count("paused"),
            "stopped": [*self.states.values()].count("stopped"),
            "missing": len(self.missing),
        }

    def trainable(self, runs: Iterable[RunConfig], *, lost_too: bool = True) -> tuple[str, ...]:
        """Keys of the runs that are left and that no failure stops, their own or a parent's.

        The `runs` are in the order of the study, parents first. A run whose worker was lost is left for the
        next launch, but not for the one that lost it (`lost_too` false).
        """
        stopped = set(self.failed_for_good if lost_too else self.failed)
        done, found = set(self.done), []
        for run in runs:
            if run.key in done:
                continue
            if run.key in stopped or not stopped.isdisjoint(run.parent_keys):
                stopped.add(run.key)
            else:
                found.append(run.key)
        return tuple(found)

    def why_absent(self, run: RunConfig) -> RunFailure | None:
        """Why the run has no result: its own failure or that of a run it starts from, else None."""
        if run.key in self.failed:
            return self.failed[run.key]
        source = self.stopped_by.get(run.key)
        if source is None:
            return None
        asked = self.failed[source].asked
        what = "failed" if asked is None else {"pause": "is paused", "stop": "was stopped"}[asked]
        return RunFailure(f"its source run {source} {what}", self.failed[source].log)


def _stopped_by(left: Iterable[RunConfig], failed: Collection[str]) -> dict[str, str]:
    """By key of the runs left, parents first, that cannot start: the failed run that they start from."""
    found: dict[str, str] = {}
    for run in left:
        for parent in run.parent_keys:
            source = parent if parent in failed else found.get(parent)
            if source is not None:
                found[run.key] = source
    return found


def _read_failure(store: RunStore, key: str) -> RunFailure | None:
    record = store.failure(key)
    if record is None:
        return None
    folder = store.run_folder(key)
    if record.get("asked") not in (None, "pause", "stop"):
        raise ValueError(
            f"{folder}: it ended for a reason that this version does not know; update portal-sweeps"
        )
    try:
        return RunFailure(record["cause"], record["log"], record["lost"], record.get("asked"))
    except KeyError as error:
        raise ValueError(
            f"{folder}: its failure's marker lacks {error}; delete the folder and run again"
        ) from None


def _keys_in_training(store: RunStore) -> set[str]:
    """Keys of the runs that a live driver's lanes report as in training."""
    if not has_live_driver(store.out):
        return set()
    return {key for record in read_progress(store.out) for key in record.get("runs", {})}
