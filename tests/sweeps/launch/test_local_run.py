"""Runs without a study: what this machine cannot do is refused before anything is written."""

import json
from pathlib import Path

import pytest

from portal.cli import main
from portal.evaluate.code_sandbox import ALLOWED
from tests.support.command_line import line_after


def test_a_metric_that_cannot_be_computed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(ALLOWED, raising=False)
    rows = [
        {"prompt": f"def f{number}():", "answer": " pass", "tests": f"f{number}()", "split": split}
        for number in range(4)
        for split in ("train", "test")
    ]
    (tmp_path / "code.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    command = [
        "train",
        "--source",
        "mini-qwen3-xs",
        "--tasks",
        str(tmp_path / "code.jsonl"),
        "--out",
        str(out),
    ]

    assert main(command) == 2

    assert f"set {ALLOWED}=1 to let it, in bubblewrap (on " in line_after("in other splits", capsys)
    assert not list(out.glob("runs/*"))
