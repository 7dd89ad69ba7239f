"""`portal conflicts`: the matrix as text, JSON and CSV, and what it refuses."""

import csv
import json
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.bases import TASKS


def test_the_matrix_is_symmetric_and_the_same_in_json_and_csv(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["conflicts", str(world / "ported"), "--data", str(world / "data"), "--rows", "4"]

    assert main([*command, "--json", "--out", str(tmp_path / "cosines.csv")]) == 0

    printed = json.loads(capsys.readouterr().out)
    tasks = sorted(TASKS)
    assert (printed["base"], printed["tasks"]) == ("tiny-gemma3", tasks)
    cosines = printed["cosines"]
    for i in range(len(tasks)):
        assert cosines[i][i] == pytest.approx(1, abs=1e-5)
        assert cosines[i] == pytest.approx([row[i] for row in cosines], abs=1e-6)
    lines = list(csv.reader((tmp_path / "cosines.csv").read_text().splitlines()))
    assert lines[0] == ["task", *tasks]
    assert [[float(value) for value in line[1:]] for line in lines[1:]] == cosines

    assert main(command) == 0
    text = capsys.readouterr().out
    pairs = [(cosines[i][j], f"{tasks[i]}, {tasks[j]}") for i, j in ((0, 1), (0, 2), (1, 2))]
    mean = sum(cosine for cosine, _ in pairs) / 3
    assert text.splitlines()[1].split()[:4] == ["all", "pairs", "3", f"{mean:.3f}"]
    lowest, names = min(pairs)
    assert text.splitlines()[3] == f"  {lowest:.3f}  {names}"


def test_one_task_has_no_pairs(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conflicts", str(world / "ported"), "--data", str(world / "data"), "--tasks", "sums"]) == 2
    assert "name at least two" in capsys.readouterr().err
