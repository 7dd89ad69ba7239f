"""`Courier`: brings alerts to URLs and commands, from threads of its own."""

import hashlib
import http.client
import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder
from sweeps.alerts.alert import Alert

ALERTS_FILE = "alerts.json"
"""In an output folder: by target, which alerts were delivered and which still wait. Targets are hashed."""
TRIES = 3
PAUSE_S = 2.0
"""Seconds before the second try, and twice as many before the third."""
URL_S, COMMAND_S = 10.0, 60.0
"""Most seconds that a request and a command may take."""
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)


class _Late(Exception):  # noqa: N818 - it is no error of ours
    """A target has not answered in time: whether the alert is there is not known."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its content, and look delivered."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


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


class Courier:
    """Delivers each alert to every target once per output folder, and never makes anyone wait.

    A URL gets a POST with a JSON object, a command of the shell the same on stdin; a thread serves each. What
    cannot be delivered in TRIES is told on the console and waits in the folder for the next launch. What a
    target does not acknowledge in time may have arrived, and is not sent again.
    """

    def __init__(self, out: Folder, targets: Sequence[str], console: Console) -> None:
        self._path, self._console, self._lock = out / ALERTS_FILE, console, threading.Lock()
        self._record = _read(self._path)
        self._waiting: dict[str, queue.Queue[tuple[str, dict[str, Any]] | None]] = {}
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        for target in dict.fromkeys(targets):
            name = hashlib.sha256(target.encode()).hexdigest()[:16]
            known = self._record.setdefault(name, {"delivered": [], "waiting": {}})
            self._waiting[name] = queue.Queue()
            for key, content in known["waiting"].items():
                self._waiting[name].put((key, content))
            arguments = (name, target)
            self._threads.append(
                threading.Thread(target=self._serve, args=arguments, name="portal-alerts", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def send(self, alert: Alert) -> None:
        """Take the alert, unless it was delivered before or waits already."""
        with self._lock:
            new = [
                name
                for name in self._waiting
                if alert.key not in {*self._record[name]["delivered"], *self._record[name]["waiting"]}
            ]
            for name in new:
                self._record[name]["waiting"][alert.key] = alert.to_json()
                self._waiting[name].put((alert.key, alert.to_json()))
            if new:  # what is seen again and again is no reason to write
                self._write()

    def close(self, patience_s: float) -> None:
        """Deliver what waits, for at most so many seconds, and say how much is left for the next launch."""
        for waiting in self._waiting.values():
            waiting.put(None)
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._ended.set()  # a thread that is late writes no more: the folder may be another launch's
            left = sum(len(self._record[name]["waiting"]) for name in self._waiting)
        if left:
            self._say(f"alerts: {left} not delivered; the next launch in this folder tries again")

    def _serve(self, name: str, target: str) -> None:
        while (taken := self._waiting[name].get()) is not None and not self._ended.is_set():
            key, content = taken
            try:
                _deliver(target, json.dumps(content).encode())
            except _Late as late:
                self._say(f"alert may not have arrived ({late}): {content['text']}")
            except (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError) as error:
                self._say(f"alert not delivered ({_fault(error)}): {content['text']}")
                continue
            with self._lock:
                if not self._ended.is_set():
                    self._record[name]["delivered"].append(key)
                    del self._record[name]["waiting"][key]
                    self._write()

    def _write(self) -> None:
        try:
            write_json_atomic(self._path, self._record)
        except OSError as error:  # alerts go on: only a later launch may repeat them
            self._say(f"alerts: {self._path} cannot be written ({error.strerror})")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)


def _read(path: Folder) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
        for known in record.values():
            known["delivered"], known["waiting"].items()
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, KeyError):
        raise ValueError(
            f"{path}: not a record of alerts; delete this file, which nothing else needs"
        ) from None
    return dict(record)


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
