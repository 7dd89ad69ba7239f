"""`ReportServer`: a report for the browsers of this machine, whose pages can pause, stop and retry runs.

It listens on the loopback alone, and serves what this process has written and nothing else that may lie in
the folder. Reading needs no token; what changes something needs the one in the address that is printed, in a
header that no other site's page can send.
"""

import json
import secrets
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from portal.messages import one_line

LOOPBACK = "127.0.0.1"
INDEX = "index.html"
TOKEN_HEADER = "X-Portal-Token"
STATES = "/states.json"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
_NOTHING_YET = (
    "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>No run is done yet</title>"
    "<p>No run of this study is done yet. This page loads itself anew."
)
_MOST_BYTES = 100
"""Of a request's body, which is one word."""


class ReportServer:
    """Serves the folder of a report between `with` and its end.

    `names` are the files that it may serve now, by their paths in the folder. `states` gives every run's
    state, by key. `act` does what is asked of a run, and says what it did; ValueError for what cannot be
    done.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        names: Callable[[], Collection[str]],
        states: Callable[[], Mapping[str, str]],
        act: Callable[[str, str], str],
    ) -> None:
        self.token = secrets.token_urlsafe(16)
        handler = partial(
            _Handler,
            names=names,
            states=states,
            act=act,
            lock=threading.Lock(),
            token=self.token,
            directory=str(folder),
        )
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), handler)
        except OSError as error:
            raise ValueError(
                f"--port {port}: {error.strerror}; choose another, or 0 for a free one"
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="report-server", daemon=True)

    def __enter__(self) -> "ReportServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where the report is, without the token."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"

    @property
    def address_with_token(self) -> str:
        """The address for a person: the token is behind `#`, which browsers do not send."""
        return f"{self.address}#token={self.token}"


class _Handler(SimpleHTTPRequestHandler):
    """Files of the report, the states of runs, and what is asked of them."""

    def __init__(
        self,
        *args: Any,
        names: Callable[[], Collection[str]],
        states: Callable[[], Mapping[str, str]],
        act: Callable[[str, str], str],
        lock: threading.Lock,
        token: str,
        directory: str,
    ) -> None:
        self._names, self._states, self._act, self._token, self._lock = names, states, act, token, lock
        super().__init__(*args, directory=directory)

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        if self.path == STATES:
            try:
                self._answer(HTTPStatus.OK, json.dumps(self._states()), "application/json")
            except (ValueError, OSError) as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, one_line(error))
            return
        name = self.path.partition("?")[0].removeprefix("/") or INDEX
        if name == INDEX and name not in self._names():
            self._answer(HTTPStatus.OK, _NOTHING_YET, "text/html; charset=utf-8")
        elif self._may_read(name):
            super().do_GET()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        """Nobody needs it."""
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        if not secrets.compare_digest(self.headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            self._answer(HTTPStatus.FORBIDDEN, "this needs the token of the address that was printed")
            return
        length = self.headers.get("Content-Length", "")
        if (
            not (length.isascii() and length.isdigit())
            or int(length) > _MOST_BYTES
            or not self.path.startswith("/runs/")
        ):
            self._answer(HTTPStatus.BAD_REQUEST, "POST one word to /runs/KEY")
            return
        word = self.rfile.read(int(length)).decode(errors="replace")
        try:
            with self._lock:
                told = self._act(self.path.removeprefix("/runs/"), word)
        except (ValueError, OSError) as error:
            self._answer(HTTPStatus.CONFLICT, one_line(error))
            return
        self._answer(HTTPStatus.OK, told)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""

    def _may_read(self, name: str) -> bool:
        """Whether it is a file of the report, and no link that leads elsewhere."""
        path = Path(self.directory) / name
        return name in self._names() and path.resolve() == Path(self.directory).resolve() / name

    def _is_ours(self) -> bool:
        """Whether the request names this machine: another name may be a page's that was led here."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host in (LOOPBACK, "localhost"):
            return True
        self._answer(HTTPStatus.FORBIDDEN, f"this server is http://{LOOPBACK} alone")
        return False

    def _answer(self, status: HTTPStatus, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
