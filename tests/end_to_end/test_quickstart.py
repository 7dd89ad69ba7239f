"""The quickstart as written, with a smaller source: every command runs, in order, and leaves what it says."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from portal.cli import main
from tests.support.markdown import DOCS, ROOT, blocks

QUICKSTART = DOCS / "quickstart.md"
SMALLER = (
    ("source-35", "source-5"),
    ("--examples 160", "--examples 16"),
    ("--modules all", "--modules q,v"),
    ("--recipe many-tasks", "--epochs 1"),
    ("--out taught", "--epochs 1 --out taught"),
)
"""What takes minutes is cut short; it is the only change."""


def lines() -> list[str]:
    """The page's commands from the source to the adapter, continued lines as one."""
    shown = "".join(blocks(QUICKSTART, "sh")[1:-1])
    return shown.replace("\\\n", " ").splitlines()


@pytest.mark.slow
def test_every_command_of_the_quickstart_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = [line for line in lines() if line.startswith("portal ")]

    assert all(long in "".join(commands) for long, _ in SMALLER)
    for line in commands:
        for long, short in SMALLER:
            line = line.replace(long, short)
        assert main(shlex.split(line)[1:]) == 0, line
    (snippet,) = blocks(QUICKSTART, "python")
    names = dict[str, Any]()
    exec(snippet, names)

    assert any("lora_A" in name for name, _ in names["model"].named_parameters())
    assert [line.split()[1] for line in commands] == ["train", "port", "teach", "export", "eval"]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_the_rows_that_the_quickstart_shows_are_those_of_the_file() -> None:
    (shown,) = blocks(QUICKSTART, "json")
    rows = (ROOT / "examples/instruments.jsonl").read_text(encoding="utf-8")

    assert rows.startswith(shown)
    assert len(rows.splitlines()) == int(re.findall(r"Of the (\d+) rows", QUICKSTART.read_text())[0])
