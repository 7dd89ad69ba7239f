"""`AlertDesk` and `AlertWatch`: what people who do not look want to know of a launch, told once each.

Alerts go to URLs and to commands of the shell, from threads of their own, while nothing waits for them.
"""

import hashlib
import http.client
import json
import os
import queue
import re
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from portal.messages import one_line
from portal.storage.atomic import write_json_atomic
from portal.storage.object_store import ObjectPath
from portal.storage.paths import Folder
from sweeps.sinks.events import Ended, StudyEvents, WorkerLost

ALERTS_FILE = "alerts.json"
"""In an output folder: by target, which alerts were delivered and which still wait. Targets are hashed."""
TRIES = 3
PAUSE_S = 2.0
"""Seconds before the second try, and twice as many before the third."""
URL_S, COMMAND_S, END_PATIENCE_S = 10.0, 60.0, 60.0
"""Most seconds that a request and a command take, and that the end of a launch waits for alerts."""
LOOK_S, LOOK_AT_STORE_S = 5.0, 60.0
"""Seconds between looks at a folder, and at an object store, where each is many requests."""
_LISTED = 3
"""Runs of one look that an alert names; of more it says how many."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)


@dataclass(frozen=True)
class Alerts:
    """Where alerts of a launch go: URLs and commands of the shell.

    ValueError for a target that nothing can be sent to.
    """

    targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for target in self.targets:
            check_target(target)


def check_target(target: str) -> None:
    """ValueError for what alerts cannot be sent to; the message does not repeat the target, a secret."""
    if not target.strip():
        raise ValueError("--alert is empty; name a URL or a command")
    if not _URL.fullmatch(target):
        return
    scheme = target.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"--alert: {scheme}:// is neither http:// nor https://")
    try:
        parts = urlsplit(target)
        is_whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"--alert: this {scheme}:// address has no host, or a port that is no number")


@dataclass
class _Kept:
    """What a folder keeps of one target; what waits is by the alert's key."""

    delivered: list[str]
    waiting: dict[str, dict[str, Any]]


class AlertDesk:
    """Sends alerts between `with` and its end, the last of which says how the launch or the search ended.

    Each alert, known by its key, is delivered to every target once per folder: a URL gets a POST with a JSON
    object, a command the same on stdin. What is not delivered in TRIES is said on the console and waits for
    the next launch; what was not acknowledged in time may have arrived, and is not sent again.

    `token` tells its alerts from those of others; `study` and `out` stand in each of them. What was delivered
    is kept in `record`, by default in `out`; ValueError on entry where that is damaged. `outcome`, which
    others may set, says at the end how far it came. Without targets it does nothing.
    """

    def __init__(
        self,
        alerts: Alerts,
        study: str,
        out: Folder,
        token: str,
        console: Console,
        *,
        what: Literal["launch", "search"] = "launch",
        record: Folder | None = None,
    ) -> None:
        self._targets = tuple(dict.fromkeys(alerts.targets))
        self._study, self._out, self._token, self._what = study, out, token, what
        self._console, self._path = console, (out if record is None else record) / ALERTS_FILE
        self._record: dict[str, _Kept] = {}  # by target, also those of other launches
        self._waiting: dict[str, queue.Queue[tuple[str, dict[str, Any]] | None]] = {}
        self._threads: list[threading.Thread] = []
        self._lock, self._has_ended = threading.Lock(), False
        self.outcome: Callable[[], str] = str

    @property
    def is_open(self) -> bool:
        """Whether anyone is told anything."""
        return bool(self._threads)

    def __enter__(self) -> "AlertDesk":
        if self._targets:
            self._record = _read(self._path)
        for target in self._targets:
            name = hashlib.sha256(target.encode()).hexdigest()[:16]
            known = self._record.setdefault(name, _Kept([], {}))
            self._waiting[name] = queue.Queue()
            for key, content in known.waiting.items():
                self._waiting[name].put((key, content))
            serve = threading.Thread(
                target=self._serve, args=(name, target), name="portal-alerts", daemon=True
            )
            self._threads.append(serve)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if not self.is_open:
            return
        how = "ended"
        if error is not None:
            is_stopped = isinstance(error, KeyboardInterrupt)
            how = "was interrupted" if is_stopped else f"broke off ({one_line(error, most=200)})"
        try:
            counts = self.outcome()
        except (OSError, ValueError, sqlite3.Error) as trouble:  # the end is told without them
            counts = f"how far it came is not known ({one_line(trouble, most=200)})"
        text = f"the {self._what} {how}"
        self.send("ended", f"ended {self._token}", f"{text}; {counts}" if counts else text)
        self._close()

    def send(self, kind: Literal["failed", "lost", "ended"], key: str, text: str) -> None:
        """Have the alert delivered, unless one with this key was delivered before or waits already."""
        content = {
            "text": f"{self._study}: {text}",  # Slack, Mattermost and Teams show it
            "kind": kind,
            "study": self._study,
            "out": str(self._out),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with self._lock:
            kept = {name: self._record[name] for name in self._waiting}
            new = [name for name, of in kept.items() if key not in {*of.delivered, *of.waiting}]
            for name in new:
                kept[name].waiting[key] = content
                self._waiting[name].put((key, content))
            if new:  # what is seen again and again is no reason to write
                self._write()

    def say(self, text: str) -> None:
        """Say on the console what keeps alerts from their way."""
        self._console.print(text, markup=False)

    def _close(self) -> None:
        """Deliver what waits, for END_PATIENCE_S at most, and say how much is left for the next launch."""
        for waiting in self._waiting.values():
            waiting.put(None)
        deadline = time.monotonic() + END_PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._has_ended = True  # a thread that is late writes no more: the folder may be another launch's
            left = sum(len(self._record[name].waiting) for name in self._waiting)
        if left:
            self.say(f"alerts: {left} not delivered; the next launch in this folder tries again")

    def _serve(self, name: str, target: str) -> None:
        while (taken := self._waiting[name].get()) is not None and not self._has_ended:
            key, content = taken
            try:
                _deliver(target, json.dumps(content).encode())
            except _Late as late:
                self.say(f"alert may not have arrived ({late}): {content['text']}")
            except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
                self.say(f"alert not delivered ({_fault(error)}): {content['text']}")
                continue
            with self._lock:
                if not self._has_ended:
                    self._record[name].delivered.append(key)
                    del self._record[name].waiting[key]
                    self._write()

    def _write(self) -> None:
        try:
            write_json_atomic(self._path, {name: asdict(kept) for name, kept in self._record.items()})
        except OSError as error:  # alerts go on: only a later launch may repeat them
            self.say(f"alerts: {self._path} cannot be written ({error.strerror})")


class AlertWatch:
    """Tells the desk, between `with` and its end, of runs that fail and of workers that are lost.

    Failures that were there before it began are no news, nor is what people or a search ask for. Where nobody
    is told anything it does nothing.
    """

    def __init__(self, events: StudyEvents, desk: AlertDesk, token: str) -> None:
        self._events, self._desk, self._token = events, desk, token
        self._told = 0  # alerts of failures
        self._troubles: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="portal-alert-watch", daemon=True)

    def __enter__(self) -> "AlertWatch":
        if self._desk.is_open:
            self._events.look()
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._desk.is_open:
            self._stop.set()
            self._thread.join()  # a look that is under way ends first
            self._try_to_look()

    def counts(self) -> str:
        """How many runs are done and how many failed, as it was seen last."""
        counts = self._events.status.counts
        text = f"{counts['done']} of {counts['total']} runs are done, {counts['failed']} failed"
        return text if counts["total"] else ""

    def look(self) -> None:
        """Send what is new."""
        events = self._events.look()
        if failed := [event for event in events if isinstance(event, Ended) and self._is_news(event)]:
            digest = hashlib.sha256(" ".join(event.run.key for event in failed).encode()).hexdigest()[:16]
            causes = [f"{event.run.describe()}: {event.failure.cause}" for event in failed if event.failure]
            more = f"; and {len(failed) - _LISTED} more" if len(failed) > _LISTED else ""
            count = "a run" if len(failed) == 1 else f"{len(failed)} runs"
            self._told += 1
            text = f"{count} failed: {'; '.join(causes[:_LISTED])}{more}"
            self._desk.send("failed", f"failed {digest} {self._told} {self._token}", text)
        for event in events:
            if isinstance(event, WorkerLost):
                text = "a worker was lost"
                if event.runs:
                    more = f" and {len(event.runs) - 1} more" if len(event.runs) > 1 else ""
                    text += (
                        f": {event.runs[0].describe()}{more} go on from their last checkpoint, if they can"
                    )
                self._desk.send("lost", f"lost {event.pack} {self._token}", text)

    def _is_news(self, event: Ended) -> bool:
        """Whether the run failed by itself: not as people asked, nor because a search stops it."""
        failure, session = event.failure, self._events.session
        if failure is None or failure.asked is not None:
            return False
        return not (failure.lost and session is not None and event.run.key in session.stops())

    def _follow(self) -> None:
        pause_s = LOOK_AT_STORE_S if isinstance(self._events.store.out, ObjectPath) else LOOK_S
        while not self._stop.wait(pause_s):
            self._try_to_look()

    def _try_to_look(self) -> None:
        """Look; what the folder does not give now it may give the next time, and training goes on."""
        try:
            self.look()
        except (OSError, ValueError) as error:
            trouble = one_line(error, most=200)
            if trouble not in self._troubles:  # a look comes every few seconds
                self._troubles.add(trouble)
                self._desk.say(f"alerts: {trouble}")


def _read(path: Folder) -> dict[str, _Kept]:
    try:
        return TypeAdapter(dict[str, _Kept]).validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValidationError:
        raise ValueError(
            f"{path}: not a record of alerts; delete this file, which nothing else needs"
        ) from None


class _Late(Exception):  # noqa: N818 - it is no error of ours
    """A target has not answered in time: whether the alert is there is not known."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its content, and look delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _deliver(target: str, content: bytes) -> None:
    """Deliver the content, in TRIES; the last one's error where none succeeds."""
    for attempt in range(1, TRIES + 1):
        try:
            return _post(target, content) if _URL.fullmatch(target) else _run(target, content)
        except (OSError, http.client.HTTPException, subprocess.SubprocessError):
            if attempt == TRIES:
                raise
        time.sleep(PAUSE_S * attempt)
    return None


def _post(url: str, content: bytes) -> None:
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"}, method="POST")
    try:
        with _OPENER.open(request, timeout=URL_S) as answer:
            answer.read(1)
    except TimeoutError:
        raise _Late(f"no answer in {URL_S:g} s") from None


def _run(command: str, content: bytes) -> None:
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in the terminal is not for it
    )
    try:
        process.communicate(content + b"\n", timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise _Late(f"the command took more than {COMMAND_S:g} s") from None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "")


def _fault(error: Exception) -> str:
    """What went wrong, without the target: its address or words may be secret."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code}"
    if isinstance(error, subprocess.CalledProcessError):
        return f"the command ended with exit code {error.returncode}"
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or type(reason).__name__)
