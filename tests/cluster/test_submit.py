"""A study is submitted to the cluster that is named, to a folder that all its nodes see, or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.command_line import only_line
from tests.support.servers import refusing_hub

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def other_cluster() -> Iterator[tuple[str, list[str]]]:
    with refusing_hub() as server:
        yield server


def test_the_address_on_the_command_line_comes_before_the_environments(
    other_cluster: tuple[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    other, asked = other_cluster
    submit = ["cluster", "submit", "demo", "--address", DEAD, "--out", str(tmp_path / "out")]
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        with monkeypatch.context() as environment:
            environment.setenv(variable, other)
            assert main(submit) == 2
        assert only_line(capsys).startswith(f"portal: {DEAD}: ")
    assert asked == []

    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", other)
    assert main(["cluster", "logs", "job"]) == 2
    assert only_line(capsys).startswith(f"portal: {other}: ")
    assert asked != []


def test_a_mistake_is_found_before_the_cluster_is_asked(
    other_cluster: tuple[str, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    other, asked = other_cluster
    monkeypatch.chdir(tmp_path)
    relative = "--out portal-demo: a relative path lies in the job's own temporary folder"
    for study, out, message in (
        ("demo", "portal-demo", relative),
        ("demoo", "/shared/out", "unknown study 'demoo'; did you mean 'demo'?"),
        ("mine.yaml", "/shared/out", "mine.yaml: no such study file"),
    ):
        assert main(["cluster", "submit", study, "--address", other, "--out", out]) == 2
        assert message in only_line(capsys)
    assert asked == []
