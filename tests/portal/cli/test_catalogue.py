"""`portal params`, `portal bases` and `portal tasks`: what there is, in numbers."""

import json
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.bases import TASKS


def test_params_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts["core"] == 17_483_776
    assert counts["converter"]["qwen3-8b"] == 13_632_640
    assert {name: round(count / 1e6, 2) for name, count in counts["converter"].items()} == {
        "qwen3-1.7b": 7.34,
        "qwen3-4b": 10.49,
        "qwen3-8b": 13.63,
        "gemma-3-4b": 8.39,
    }


def test_tasks_counts_the_rows_of_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--data", str(world / "data"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)["tasks"]
    assert counts == {task: {"train": 8, "validation": 8, "test": 8} for task in TASKS}
