"""A study is submitted to the cluster that is named, to a folder that all its nodes see, or not at all."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.command_line import only_line

DEAD = "http://127.0.0.1:9"


class _Visited(ThreadingHTTPServer):
    """A server that answers nothing and remembers who came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Visitor)
        self.paths: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Visitor(BaseHTTPRequestHandler):
    server: _Visited

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_error(404)

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def other_cluster() -> Iterator[_Visited]:
    server = _Visited()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def test_the_address_on_the_command_line_comes_before_the_environments(
    other_cluster: _Visited,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    submit = ["cluster", "submit", "demo", "--address", DEAD, "--out", str(tmp_path / "out")]
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        with monkeypatch.context() as environment:
            environment.setenv(variable, other_cluster.address)
            assert main(submit) == 2
        assert only_line(capsys).startswith(f"portal: {DEAD}: ")
    assert other_cluster.paths == []

    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", other_cluster.address)
    assert main(["cluster", "logs", "job"]) == 2
    assert only_line(capsys).startswith(f"portal: {other_cluster.address}: ")
    assert other_cluster.paths != []


def test_a_mistake_is_found_before_the_cluster_is_asked(
    other_cluster: _Visited,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = "--out portal-demo: a relative path lies in the job's own temporary folder"
    for study, out, message in (
        ("demo", "portal-demo", relative),
        ("demoo", "/shared/out", "unknown study 'demoo'; did you mean 'demo'?"),
        ("mine.yaml", "/shared/out", "mine.yaml: no such study file"),
    ):
        assert main(["cluster", "submit", study, "--address", other_cluster.address, "--out", out]) == 2
        assert message in only_line(capsys)
    assert other_cluster.paths == []
