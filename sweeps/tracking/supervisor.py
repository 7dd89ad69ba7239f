"""`TrackerSupervisor`: starts, wakes and ends the processes that report a study's runs to trackers.

A tracker may hang, crash, print, or ask for a password: all of that happens in its process (reporter.py),
which reads the run folders like anybody else. The driver starts it, wakes it, and waits a while for it in the
end; no error of a tracker is raised here once the launch has begun.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console

from portal.storage.paths import Folder
from sweeps.tracking.reporter import FAILED, FINISH, POLL_S, SYNC, read_record, record_path
from sweeps.tracking.tracker import Tracker
from sweeps.tracking.trackers import find_tracker

CLOSE_S = 60.0
"""How long the end of a launch waits for a tracker that has nothing new to show."""
BROKEN_OFF_S = 5.0
"""How long the end of a launch that was broken off waits for such a tracker."""
_LONGEST_CLOSE_S = 1800.0
_SILENT_S = 2.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 600.0


class TrackerSupervisor:
    """The trackers of one launch.

    ValueError for a tracker that is unknown or cannot work, or whose record in the folder is not readable.
    """

    def __init__(self, out: Folder, study: str, names: Sequence[str], console: Console) -> None:
        self._console = console
        kinds = [find_tracker(name) for name in dict.fromkeys(names)]
        self._reporters = [_ReporterProcess(out, study, kind) for kind in kinds]
        self._woken = 0.0

    def start(self, token: str) -> None:
        """Start the reporters, under the lease of that token; the folder has the study's manifest by now."""
        for reporter in self._reporters:
            reporter.start(token)

    def poll(self) -> None:
        """Wake the reporters, at most every POLL_S; one whose process has ended is started anew."""
        if self._reporters and time.monotonic() - self._woken >= POLL_S:
            self._woken = time.monotonic()
            for reporter in self._reporters:
                reporter.wake()

    def close(self, patience_s: float | None = None) -> None:
        """Let all reporters finish; those that could not, or show no progress for so long, are named."""
        patience_s = CLOSE_S if patience_s is None else patience_s
        for reporter in self._reporters:
            reporter.finish()
        for reporter in self._reporters:
            trouble = reporter.wait(patience_s, self._console)
            if trouble is not None:
                self._console.print(
                    f"tracker {reporter.name}: not all of the study is logged ({trouble}); the same command "
                    "logs the rest",
                    markup=False,
                )


class _ReporterProcess:
    """The process that reports to one tracker; ended by an error it is started again, ever later."""

    def __init__(self, out: Folder, study: str, kind: type[Tracker]) -> None:
        self.name = kind.name
        self._out, self._study = out, study
        self._record = record_path(out, study, kind)
        read_record(self._record)  # refused now rather than after the training
        self._token: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble: str | None = None
        self._pause_s, self._due = _FIRST_PAUSE_S, 0.0

    def start(self, token: str) -> None:
        self._token = token
        self._due = time.monotonic() + self._pause_s
        place = str(self._out.resolve())
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sweeps.tracking.reporter", place, self._study, self.name, token],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is the driver's
            )
        except OSError as error:
            self._trouble = f"its process could not be started: {error.strerror}"
            return
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def wake(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._say(SYNC)
        elif self._token is not None and time.monotonic() >= self._due:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self.start(self._token)

    def finish(self) -> None:
        """Ask the reporter to report the rest and end."""
        if self._token is not None:
            if self._process is None or self._process.poll() is not None:
                self.start(self._token)
            self._say(FINISH)

    def wait(self, patience_s: float, console: Console) -> str | None:
        """The reason why not all was reported; None when all was, or it was never started."""
        if self._process is None:
            return self._trouble
        try:
            code = self._wait_while_it_reports(patience_s, console)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        if code is None:
            return f"nothing new for {patience_s:.0f} s"
        if code == 0:
            return None
        ended = f"its process ended with {code}"
        if code != FAILED:
            return ended
        try:
            return read_record(self._record)["trouble"] or ended
        except (ValueError, OSError) as error:
            return str(error)

    def _wait_while_it_reports(self, patience_s: float, console: Console) -> int | None:
        """The exit code of its process; None when its record has not changed for so long."""
        assert self._process is not None
        started = changed = time.monotonic()
        seen, said = self._state(), False
        while (now := time.monotonic()) - changed < patience_s and now - started < _LONGEST_CLOSE_S:
            try:
                return self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
            if (state := self._state()) != seen:
                seen, changed = state, time.monotonic()
            if not said and now - started > _SILENT_S:
                console.print(f"tracker {self.name}: logging the rest", markup=False)
                said = True
        return None

    def _state(self) -> bytes:
        try:
            return self._record.read_bytes()
        except OSError:
            return b""

    def _say(self, word: str) -> None:
        """Write a word into its pipe without waiting: a full pipe belongs to a tracker that hangs."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        # It has ended, and the next wake starts it again; or it hangs, and has words enough.
        with suppress(BrokenPipeError, BlockingIOError):
            self._process.stdin.write(f"{word}\n".encode())
