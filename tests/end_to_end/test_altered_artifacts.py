"""An artifact or adapter that was edited is refused by eval, export and port, in a run of any version."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.cli import main
from tests.support.artifacts import change_config
from tests.support.command_line import only_line

RUNS = Path(__file__).parents[1] / "fixtures" / "v0.1.0" / "out" / "runs"
SOURCE, LORA = RUNS / "dee880c96ae2ab97", RUNS / "192f7661ca84c664"
TASKS = ["--tasks", "counting"]


def edit_alpha(artifact: Path) -> None:
    change_config(artifact, alpha=64)


def swap_names(artifact: Path) -> None:
    tasks = json.loads((artifact / "config.json").read_bytes())["tasks"]
    change_config(artifact, tasks=tasks[::-1])


def commands(artifact: Path, out: Path) -> dict[str, list[str]]:
    return {
        "eval": ["eval", "--base", "mini-qwen3-xs", "--artifact", str(artifact), *TASKS, "--limit", "4"],
        "export": ["export", str(artifact), "--task", "counting", "--check", "--out", str(out)],
        "port": ["port", str(artifact), "--to", "mini-qwen3-s", *TASKS, "--examples", "4", "--out", str(out)],
    }


@pytest.mark.parametrize("edit", [edit_alpha, swap_names])
@pytest.mark.parametrize("command", ["eval", "export", "port"])
def test_an_edited_run_of_the_first_version_is_refused(
    command: str, edit: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(SOURCE, tmp_path / SOURCE.name))
    artifact = run / "artifact" / "mini-qwen3-xs"
    edit(artifact)

    assert main(commands(artifact, tmp_path / "out")[command]) == 2

    assert f"{artifact / 'config.json'}: altered since the run finished" in only_line(capsys)


@pytest.mark.parametrize("command", ["eval", "export"])
def test_a_run_of_the_first_version_that_nobody_edited_is_read(command: str, tmp_path: Path) -> None:
    artifact = SOURCE / "artifact" / "mini-qwen3-xs"

    assert main(commands(artifact, tmp_path / "out")[command]) == 0


@pytest.mark.parametrize("name", ["adapter_config.json", "portal_base.json"])
def test_an_edited_adapter_in_a_run_of_the_first_version_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(LORA, tmp_path / LORA.name))
    edited = run / "artifact" / "counting" / name
    edited.write_text(edited.read_text() + " ")
    base = json.loads((run / "run.json").read_bytes())["config"]["bases"][0]["name"]

    assert main(["eval", "--base", base, "--adapter", str(run / "artifact" / "counting"), *TASKS]) == 2

    assert f"{edited}: altered since the run finished" in only_line(capsys)
