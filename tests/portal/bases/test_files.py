"""A hub that refuses: one line says what is wrong and which variable helps. A local server plays the hub."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from portal.bases.files import hub_answers, locate, resolve


class _Refusals(BaseHTTPRequestHandler):
    """401 and 403 as the hub words them, by repository."""

    def do_GET(self) -> None:
        gated = "gated" in self.path
        self.send_response(403 if gated else 401)
        self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
        self.send_header("X-Error-Message", "no entry")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusals)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("command", "messages"),
    [
        (
            ["eval", "--base", "org/gated-model", "--tasks", "fact_qa"],
            ["org/gated-model is gated", "set HF_TOKEN"],
        ),
        (
            ["eval", "--base", "org/absent-model", "--tasks", "fact_qa"],
            ["the hub has no repository org/absent-model", "set HF_TOKEN"],
        ),
        (["tasks", "--tasks", "copa"], ["data set 'aps/super_glue' (copa)", "HF_TOKEN"]),
        (
            ["export", "org/gated-artifact", "--all", "--out", "{t}"],
            ["artifact 'org/gated-artifact'", "is gated", "set HF_TOKEN"],
        ),
    ],
    ids=["gated base", "absent base", "absent data set", "gated artifact"],
)
def test_a_refusal_is_one_line_that_names_the_repository_and_the_remedy(
    command: list[str], messages: list[str], hub: str, tmp_path: Path
) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "PORTAL_DATA")
    }
    environment |= {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "home"), "no_proxy": "127.0.0.1"}

    ended = subprocess.run(
        [sys.executable, "-m", "portal", *(part.format(t=tmp_path) for part in command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("portal: ")]
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    for message in messages:
        assert message in lines[0]


@pytest.mark.parametrize(
    ("files", "messages"),
    [
        ({}, ["holds no model (no config.json)", "`portal bases`", "a GGUF file", "'org/model'"]),
        ({"config.json": '{"format_version": 1}'}, ["holds no model (its config.json is not a model's)"]),
        ({"b.gguf": "", "a.gguf": ""}, ["holds no model", "name its GGUF file: ", "a.gguf"]),
        ({"adapter_config.json": "{}", "config.json": "{}"}, ["holds a PEFT adapter"]),
    ],
    ids=["empty", "an artifact", "GGUF files", "an adapter"],
)
def test_a_folder_that_is_no_model_is_told_by_what_it_holds(
    files: dict[str, str], messages: list[str], tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    with pytest.raises(ValueError, match="base") as raised:
        locate(str(tmp_path))

    assert str(tmp_path) in str(raised.value)
    for message in messages:
        assert message in str(raised.value)


def test_a_hub_that_cannot_be_reached_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert not hub_answers()
    assert resolve("qwen3-4b").revision.startswith("1cfa9a7")
    with pytest.raises(ValueError, match="base 'org/model': cannot be read from 'org/model': "):
        resolve("org/model")


def test_a_hub_that_answers_is_there_whatever_it_says(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert hub_answers()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert not hub_answers()
