"""A local HTTP server that plays the hub."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Refusals(BaseHTTPRequestHandler):
    """401 and 403 as the hub words them, by repository; `asked` has the paths of all requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        gated = "gated" in self.path
        self.send_response(403 if gated else 401)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "no entry")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@contextmanager
def refusing_hub() -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that answers and refuses everything, and the paths that it was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Refusing", (Refusals,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
