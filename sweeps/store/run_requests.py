"""`RunRequests`: what people ask of single runs, kept in the output folder until it is done.

requests/<run key>: the word `pause`, `stop` or `retry`
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, get_args

from portal.storage.atomic import write_note
from portal.storage.paths import Folder, matching
from sweeps.store.lease import InUse, acquire
from sweeps.store.run_store import RunStore

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
            raise ValueError(f"run {key!r} has ended: {failure['cause']}")

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
    def _can_leave(failure: dict[str, object] | None, request: Request) -> bool:
        """Whether a run that is not done can be left out: nobody else has ended it for good."""
        if failure is None or failure.get("lost"):
            return True
        return failure.get("asked") == "pause" and request == "stop"
