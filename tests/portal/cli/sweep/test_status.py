"""`portal sweep status`: counts of runs."""

import json
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.command_line import write_study


def test_status_in_a_folder_where_the_study_never_ran_is_all_missing(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(world, tmp_path)
    (tmp_path / "out").mkdir()

    assert main(["sweep", "status", study, "--out", str(tmp_path / "out"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts == {
        "total": 3,
        "done": 0,
        "running": 0,
        "failed": 0,
        "paused": 0,
        "stopped": 0,
        "missing": 3,
    }
