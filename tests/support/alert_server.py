"""A server on the loopback that keeps what is posted to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class AlertServer:
    """`status` is what it answers with (a redirect leads to itself); a `gate` not set keeps requests waiting.

    With `garbage` its answer is no HTTP.
    """

    url: str = ""
    status: int = 200
    garbage: bool = False
    posted: list[dict[str, Any]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


@contextmanager
def alert_server(status: int = 200, *, waits: bool = False) -> Iterator[AlertServer]:
    """The server, until the block ends."""
    server = AlertServer(status=status)
    if not waits:
        server.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.gate.wait(30)
            server.posted.append({**content, "type": self.headers["Content-Type"]})
            if server.garbage:
                self.wfile.write(b"what?\r\n\r\n")
                return
            self.send_response(server.status)
            if server.status in (301, 302, 303):
                self.send_header("Location", server.url)
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/hook"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))  # seconds until it notices its end
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        http.shutdown()
        http.server_close()
        thread.join()
