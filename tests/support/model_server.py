"""Servers of models, run by the Python of an environment of their own: `make serve-test` makes it."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PYTHON = "PORTAL_SERVE_PYTHON"
_START_SECONDS = 300


def serve_python() -> str:
    """The Python of the servers' environment; the test is skipped where there is none."""
    python = os.environ.get(PYTHON)
    if python is None:
        pytest.skip(f"{PYTHON} names no Python with the servers: make serve-test")
    return python


@contextmanager
def running(
    command: Sequence[str], *, port: int, ready: str, log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The address of the server that `command` starts, once GET `ready` answers; it and its children end."""
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, **(variables or {})}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait(server, address + ready, log)
            yield address
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)  # vLLM ends its workers then
            try:
                server.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server has not answered for {_START_SECONDS} s:\n{log.read_text()[-4000:]}")


def post(address: str, body: Mapping[str, Any]) -> Any:
    """The answer to a POST of JSON; ValueError with the server's words where it refuses."""
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        raise ValueError(f"{error.code}: {error.read().decode()}") from None
    return json.loads(text) if text[:1] in ("{", "[") else text
