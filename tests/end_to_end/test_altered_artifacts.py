"""An artifact or adapter edited in its run's folder is refused, also where it has no record of its own."""

import json
import shutil
from pathlib import Path

import pytest

from portal.artifacts.artifact_files import RECORD
from portal.cli import main
from sweeps.store.run_store import RunStore
from tests.support.artifacts import change_config
from tests.support.command_line import only_line

FOLDER = Path(__file__).parents[1] / "fixtures" / "ea55e6a" / "folder" / "interrupted"
SOURCE, LORA = "dee880c96ae2ab97", "93a9e0266de26504"
TASKS = ["--tasks", "counting"]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact without a record in the folder of its run, as portallib writes it."""
    run = Path(shutil.copytree(FOLDER / "runs" / SOURCE, tmp_path / "runs" / SOURCE))
    (run / "artifact" / "mini-qwen3-xs" / RECORD).unlink()
    RunStore(tmp_path).mark_done(SOURCE)
    return run / "artifact" / "mini-qwen3-xs"


def commands(artifact: Path, out: Path) -> list[list[str]]:
    return [
        ["eval", "--base", "mini-qwen3-xs", "--artifact", str(artifact), *TASKS, "--limit", "4"],
        ["export", str(artifact), "--task", "counting", "--check", "--out", str(out / "adapter")],
        [
            "port",
            str(artifact),
            "--to",
            "mini-qwen3-s",
            *TASKS,
            "--examples",
            "4",
            "--out",
            str(out / "port"),
        ],
    ]


def test_it_is_read_until_it_is_edited(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((artifact / "config.json").read_bytes())
    for command in commands(artifact, tmp_path)[:2]:
        assert main(command) == 0
    capsys.readouterr()

    for edit in ({"alpha": 64}, {"alpha": config["alpha"], "tasks": config["tasks"][::-1]}):
        change_config(artifact, **edit)
        for command in commands(artifact, tmp_path):
            assert main(command) == 2
            assert f"{artifact / 'config.json'}: altered since the run finished" in only_line(capsys)


@pytest.mark.parametrize("name", ["adapter_config.json", "portal_base.json"])
def test_an_edited_adapter_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(FOLDER / "runs" / LORA, tmp_path / LORA))
    edited = run / "artifact" / "counting" / name
    edited.write_text(edited.read_text() + " ")

    assert main(["eval", "--base", "mini-qwen3-s", "--adapter", str(edited.parent), *TASKS]) == 2

    assert f"{edited}: altered since the run finished" in only_line(capsys)
