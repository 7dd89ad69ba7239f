"""What tests of the `portal` command share: its commands, a small study file, the one line of a refusal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def write_study(world: Path, folder: Path) -> str:
    """A study of three runs: the base and two seeds of a per-task LoRA."""
    path = folder / "study.yaml"
    path.write_text(
        "\n".join(
            [
                "name: small",
                f"suite: {world / 'data'}",
                "tasks: [sums]",
                "targets: [tiny-qwen3]",
                "seeds: [0, 1]",
                "methods:",
                "  base: {}",
                "  lora:",
                "    size: 4",
                "    adapter: {modules: [q], rank: 2, alpha: 4}",
                "    train: {epochs: 1}",
            ]
        )
    )
    return str(path)


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr; nothing may have gone to stdout."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("portal: ")
    return lines[0]


def commands(command: Any, path: tuple[str, ...] = ("portal",)) -> Iterator[tuple[str, Any]]:
    """The command and all below it, by what is typed."""
    yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def line_after(warning: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The second of the two lines on stderr, of which the first warns of that."""
    first, second = capsys.readouterr().err.splitlines()
    assert warning in first
    return second
