"""`RunFeed`: trackers that are told of a study's runs while they train, each by a process of its own.

A tracker may hang, crash, print, or ask for a password: all of that happens in its process (teller.py), which
reads the run folders like anybody else. The driver starts it, wakes it, and waits a while for it in the end.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from portal.folder import Folder
from sweeps.teller import END, POLL_S, TELL, read_record, record_path
from sweeps.trackers import find_tracker

CLOSE_S = 60.0
"""How long the end of a launch waits for a tracker."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 30.0, 600.0


class RunFeed:
    """The trackers of one launch. ValueError for a tracker that is unknown or cannot work."""

    def __init__(self, out: Folder, study: str, names: Sequence[str], console: Console) -> None:
        self._console = console
        kinds = [find_tracker(name) for name in dict.fromkeys(names)]
        self._tellers = [_TellerProcess(out, study, kind.name) for kind in kinds]
        self._woken = 0.0

    def start(self, token: str) -> None:
        """Begin to tell, under the lease of that token; the study is remembered in the folder by now."""
        for teller in self._tellers:
            teller.start(token)

    def poll(self) -> None:
        """Wake those that sleep, if the last time is POLL_S ago; a process that has ended is started anew."""
        if self._tellers and time.monotonic() - self._woken >= POLL_S:
            self._woken = time.monotonic()
            for teller in self._tellers:
                teller.wake()

    def close(self) -> None:
        """Let all tell the rest, and name those that could not."""
        deadline = time.monotonic() + CLOSE_S
        for teller in self._tellers:
            teller.finish()
        for teller in self._tellers:
            trouble = teller.wait(deadline - time.monotonic())
            if trouble is not None:
                self._console.print(
                    f"tracker {teller.name}: not all of the study is logged ({trouble}); the same command "
                    "logs the rest",
                    markup=False,
                )


class _TellerProcess:
    """The process that tells one tracker; ended by an error it is started again, ever later."""

    def __init__(self, out: Folder, study: str, name: str) -> None:
        self.name = name
        self._out, self._study = out, study
        self._token: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._pause_s, self._due = _FIRST_PAUSE_S, 0.0

    def start(self, token: str) -> None:
        self._token = token
        place = str(self._out.resolve())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.teller", place, self._study, self.name, token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is the driver's
        )
        self._due = time.monotonic() + self._pause_s

    def wake(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._say(TELL)
        elif self._token is not None and time.monotonic() >= self._due:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self.start(self._token)

    def finish(self) -> None:
        """Ask for all that is left."""
        if self._token is not None and self._process is not None:
            if self._process.poll() is not None:
                self.start(self._token)
            self._say(END)

    def wait(self, seconds: float) -> str | None:
        """What kept it from telling everything; None when nothing did."""
        if self._process is None:
            return None
        try:
            code = self._process.wait(max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"it does not answer within {CLOSE_S:.0f} s"
        if code == 0:
            return None
        return read_record(record_path(self._out, self.name))["trouble"] or f"its process ended with {code}"

    def _say(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; the next wake starts it again
