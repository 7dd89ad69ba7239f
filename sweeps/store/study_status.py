"""`StudyStatus`: how far each run of a study is. `RunRequests`: what people ask of single runs.

requests/<run key>: the word `pause`, `stop` or `retry`
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from portal.config import RunConfig
from portal.storage.atomic import write_note
from portal.storage.paths import Folder, matching
from sweeps.store.lease import InUse, acquire, has_live_driver
from sweeps.store.run_store import RunFailure, RunStore
from sweeps.store.session import read_progress

RunState = Literal["done", "running", "failed", "paused", "stopped", "missing"]
_ENDS: dict[str | None, RunState] = {None: "failed", "pause": "paused", "stop": "stopped"}
"""What a run that ended before its end is called, by what people asked."""


@dataclass(frozen=True)
class StudyStatus:
    """The state of each run of a study, by key in the order of the study, and why those that failed did.

    Runs that people have paused or stopped are among the `failed`: nobody trains them until they are retried.
    `running` are those that a live driver reports as in training; `missing` are all others without a marker.
    `stopped_by` names, for runs that cannot start, the failed run at the head of what they start from.
    """

    states: Mapping[str, RunState]
    failed: Mapping[str, RunFailure]
    stopped_by: Mapping[str, str]

    @classmethod
    def read(cls, store: RunStore, runs: Iterable[RunConfig]) -> "StudyStatus":
        """The status now of `runs`, parents first.

        Markers are listed once, and each marker of these runs is read once.
        """
        marked, training = store.finished_keys(), set[str]()
        if has_live_driver(store.out):
            training = {key for record in read_progress(store.out) for key in record.get("runs", {})}
        states: dict[str, RunState] = {}
        failed: dict[str, RunFailure] = {}
        stopped_by: dict[str, str] = {}
        for run in runs:
            key = run.key
            if key in marked and store.is_done(key):
                states[key] = "done"
            elif key in marked and (failure := store.failure(key)) is not None:
                states[key], failed[key] = _ENDS[failure.asked], failure
            elif key in training:
                states[key] = "running"
            else:
                states[key] = "missing"
                for parent in run.parent_keys:
                    if (head := stopped_by.get(parent, parent)) in failed:
                        stopped_by[key] = head
        return cls(states, failed, stopped_by)

    def refreshed(self, store: RunStore, runs: Sequence[RunConfig]) -> "StudyStatus":
        """The status of the same runs now; those that were done are not looked up again."""
        done = set(self.done)
        now = StudyStatus.read(store, [run for run in runs if run.key not in done])
        return replace(now, states={run.key: now.states.get(run.key, "done") for run in runs})

    @property
    def done(self) -> tuple[str, ...]:
        return self._in("done")

    @property
    def running(self) -> tuple[str, ...]:
        return self._in("running")

    @property
    def missing(self) -> tuple[str, ...]:
        return self._in("missing")

    def _in(self, state: RunState) -> tuple[str, ...]:
        return tuple(key for key, each in self.states.items() if each == state)

    @property
    def total(self) -> int:
        """Number of runs of the study."""
        return len(self.states)

    @property
    def failed_for_good(self) -> tuple[str, ...]:
        """Keys of the failed runs that the next launch does not try again."""
        return tuple(key for key, failure in self.failed.items() if not failure.lost)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Keys of the runs that people have paused or stopped."""
        return tuple(key for key, failure in self.failed.items() if failure.asked is not None)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of all runs and of those in each state."""
        return {"total": self.total} | {state: len(self._in(state)) for state in get_args(RunState)}

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
        return RunFailure(cause=f"its source run {source} {what}", log=self.failed[source].log)


Request = Literal["pause", "stop", "retry"]
REQUESTS: tuple[Request, ...] = get_args(Request)
REQUESTS_FOLDER = "requests"
_PAST = {"pause": "paused", "stop": "stopped"}
_KEY = re.compile(r"[0-9a-f]{16}")


class RunRequests:
    """The requests below `out`, one for a run; a later one replaces it."""

    def __init__(self, out: Folder) -> None:
        self._store = RunStore(out)
        self._folder = out / REQUESTS_FOLDER

    def asked(self) -> dict[str, Request]:
        """All requests, by run; what is none, or cannot be read, is passed over."""
        found: dict[str, Request] = {}
        for path in matching(self._folder, "*"):
            if not _KEY.fullmatch(path.name):
                continue
            try:
                word = path.read_bytes().decode(errors="replace")
            except OSError:  # done meanwhile, or no file
                continue
            for request in REQUESTS:
                if word == request:
                    found[path.name] = request
        return found

    def check(self, key: str, request: Request) -> None:
        """ValueError for a run that is not here, is done, or whose state the request does not fit."""
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key of a run: 16 digits and letters from a to f")
        self._store.read_run(key)
        if self._store.is_done(key):
            raise ValueError(f"run {key!r} is done")
        failure, pending = self._store.failure(key), self.asked().get(key)
        if request == "retry":
            if failure is None and pending is None:
                raise ValueError(f"run {key!r} has not failed here, and is neither paused nor stopped")
        elif not self._can_leave(failure, request):
            assert failure is not None
            raise ValueError(f"run {key!r} has ended: {failure.cause}")

    def ask_or_do(self, keys: Sequence[str], request: Request, log: Path) -> bool:
        """Do it, or leave it to the driver that works on the folder; whether there is one.

        ValueError as of `check`.
        """
        for key in keys:
            self.check(key, request)
        for key in keys:
            write_note(self._folder / key, request)
        try:
            with acquire(self._store.out):
                self.carry_out(keys, log)
        except InUse:
            return True
        return False

    def carry_out(self, keys: Collection[str], log: Path) -> list[str]:
        """Do what is asked of these runs, none of which is in training; those that are to be tried again.

        `log` is where people read more of what they paused or stopped.
        """
        self.leave_out(keys, log)
        retried = [key for key, request in self.asked().items() if key in keys and request == "retry"]
        self._store.forget_failed(retried)
        for key in retried:
            self._forget(key)
        return retried

    def leave_out(self, keys: Collection[str], log: Path) -> None:
        """Mark those of these runs, none of which is in training, that are to pause or stop."""
        for key, request in self.asked().items():
            if key in keys and request != "retry":
                if not self._store.is_done(key) and self._can_leave(self._store.failure(key), request):
                    self.mark(key, request, "before its next step", log)
                self._forget(key)

    def mark(self, key: str, request: Request, when: str, log: Path) -> None:
        """Mark the run as one that people have paused or stopped."""
        assert request != "retry"
        self._store.mark_failed(key, f"{_PAST[request]} as asked, {when}", log, asked=request)

    def withdraw(self, key: str) -> None:
        """Forget that the run is to pause or stop: it has ended."""
        if self.asked().get(key) != "retry":
            self._forget(key)

    def _forget(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)

    @staticmethod
    def _can_leave(failure: RunFailure | None, request: Request) -> bool:
        """Whether a run that is not done can be left out: nobody else has ended it for good."""
        if failure is None or failure.lost:
            return True
        return failure.asked == "pause" and request == "stop"
