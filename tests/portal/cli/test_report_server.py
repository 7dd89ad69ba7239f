"""A served report: anyone on this machine reads it, only who has the token changes runs."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from analysis.report.document import ReportDocument
from analysis.report.html import render_page
from portal.cli.report_server import TOKEN_HEADER, ReportServer
from tests.support.browser import TELL, open_page


class Runs:
    """What was asked, and the states of two runs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def states(self) -> dict[str, str]:
        return {"a": "running", "b": "failed"}

    def act(self, key: str, word: str) -> str:
        if word == "dance":
            raise ValueError("no such word")
        self.asked.append((key, word))
        return "as you wish"


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def server(tmp_path: Path, runs: Runs) -> Iterator[ReportServer]:
    folder = tmp_path / "report"
    (folder / "runs").mkdir(parents=True)
    (folder / "index.html").write_text("the report")
    (tmp_path / "secret").write_text("not yours")
    (folder / "planted.html").write_text("not yours")
    (folder / "link.html").symlink_to(tmp_path / "secret")
    with ReportServer(folder, 0, lambda: {"index.html", "link.html"}, runs.states, runs.act) as server:
        yield server


def call(
    server: ReportServer, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[HTTPResponse, str]:
    port = int(server.address.rstrip("/").rsplit(":", 1)[1])
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def test_reading_needs_no_token(server: ReportServer) -> None:
    page, text = call(server, "GET", "/index.html")
    states, listed = call(server, "GET", "/states.json")

    assert (page.status, text) == (200, "the report")
    assert page.headers["Cache-Control"] == "no-store"
    assert (states.status, json.loads(listed)) == (200, {"a": "running", "b": "failed"})


@pytest.mark.parametrize(
    "path",
    [
        "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/runs/", "/gone.html", "/runs/../../secret",
        "/planted.html", "/link.html", "//etc/passwd",
    ],
)  # fmt: skip
def test_nothing_but_files_of_the_report_is_read(server: ReportServer, path: str) -> None:
    response, text = call(server, "GET", path)

    assert response.status == 404
    assert "not yours" not in text


def test_who_has_the_token_can_ask(server: ReportServer, runs: Runs) -> None:
    response, text = call(server, "POST", "/runs/a", "pause", **{TOKEN_HEADER: server.token})

    assert (response.status, text) == (200, "as you wish")
    assert runs.asked == [("a", "pause")]
    assert server.address_with_token == f"{server.address}#token={server.token}"


PRESS = """
<script>
const press = setInterval(() => {
  const bar = document.querySelector(".control");
  if (bar === null) return;
  clearInterval(press);
  const [pause, stop] = bar.querySelectorAll("button");
  const seen = [bar.firstChild.textContent, pause.textContent, stop.textContent, location.hash];
  pause.click();
  const wait = setInterval(() => {
    if (!document.querySelector(".control").textContent.endsWith("as you wish")) return;
    clearInterval(wait);
    tell(seen);
  }, 50);
}, 50);
</script>
"""


def test_a_page_has_buttons_for_who_came_with_the_token(
    server: ReportServer, runs: Runs, tmp_path: Path
) -> None:
    page = render_page(ReportDocument("t", "", (), (), (), run="a")).replace(
        "</body>", f"{TELL}{PRESS}</body>"
    )
    (tmp_path / "report" / "index.html").write_text(page, encoding="utf-8")

    seen, _ = open_page(server.address_with_token, tmp_path / "profile", 1280, "--virtual-time-budget=20000")

    assert seen == ["Now running. ", "pause", "stop", ""]  # the token is no longer in the address
    assert runs.asked == [("a", "pause")]


@pytest.mark.parametrize("token", [None, "", "wrong", "\u00e9"])
def test_nobody_else_can(server: ReportServer, runs: Runs, token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token}
    response, _ = call(server, "POST", "/runs/a", "pause", **headers)

    assert response.status == 403
    assert runs.asked == []


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_that_was_led_here_under_another_name_is_refused(
    server: ReportServer, runs: Runs, method: str
) -> None:
    headers = {"Host": "evil.example:80", TOKEN_HEADER: server.token}
    response, text = call(server, method, "/index.html" if method != "POST" else "/runs/a", "stop", **headers)

    assert response.status == 403
    assert "the report" not in text
    assert runs.asked == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/runs/a", "x" * 101, 400), ("/states.json", "pause", 400), ("/runs/a", "dance", 409)],
)
def test_what_cannot_be_done_is_told(
    server: ReportServer, runs: Runs, path: str, body: str, status: int
) -> None:
    response, text = call(server, "POST", path, body, **{TOKEN_HEADER: server.token})

    assert response.status == status
    assert text
    assert runs.asked == []


def test_before_the_first_report_a_page_says_so(tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "index.html").write_text("planted")
    with ReportServer(tmp_path, 0, set, runs.states, runs.act) as server:
        response, text = call(server, "GET", "/")

    assert (response.status, "No run of this study is done yet" in text) == (200, True)
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


def test_states_that_cannot_be_read_are_told(tmp_path: Path, runs: Runs) -> None:
    def states() -> dict[str, str]:
        raise OSError("the store is away")

    with ReportServer(tmp_path, 0, set, states, runs.act) as server:
        response, text = call(server, "GET", "/states.json")

    assert (response.status, text) == (500, "the store is away")


def test_it_listens_on_the_loopback_alone(server: ReportServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_one_line(server: ReportServer, tmp_path: Path, runs: Runs) -> None:
    port = int(server.address.rstrip("/").rsplit(":", 1)[1])

    with pytest.raises(ValueError, match=rf"--port {port}: Address already in use; choose another"):
        ReportServer(tmp_path, port, set, runs.states, runs.act)
