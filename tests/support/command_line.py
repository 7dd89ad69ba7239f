"""What tests of the `portal` command share: running it, its refusals, its commands, a small study file."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portal.cli import main


@dataclass(frozen=True)
class Printed:
    """What a command has printed."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def cells(self) -> list[list[str]]:
        """The words of each line."""
        return [line.split() for line in self.lines]


@dataclass(frozen=True)
class Portal:
    """The `portal` command, typed in an empty folder of the test."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, command: str, *more: object, code: int = 0) -> Printed:
        """What a command prints that ends with that exit code, typed as in a shell: `quoted` is for paths."""
        self.capsys.readouterr()
        ended = main([*shlex.split(command), *map(str, more)])
        printed = Printed(*self.capsys.readouterr())
        assert ended == code, f"{command}: {ended}\n{printed.err}"
        return printed

    def refusal(self, command: str, *more: object) -> str:
        """The one line of a command that is refused."""
        return one_line(self(command, *more, code=2))


@dataclass(frozen=True)
class Ended(Printed):
    """How a command ended, and which slow libraries were loaded by then."""

    code: int
    slow: list[str]


SCRIPT = """
import contextlib, io, json, sys
from portal.cli import main
ends = []
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(line)
    slow = [name for name in ("torch", "ray", "transformers", "pandas") if name in sys.modules]
    ends.append((out.getvalue(), err.getvalue(), code, slow))
print(json.dumps(ends))
"""


def in_new_process(
    lines: Sequence[Sequence[str]],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[Ended]:
    """Commands, one after another, in one process, whose libraries read their environment once."""
    command = [sys.executable, "-c", SCRIPT]
    ended = subprocess.run(
        command,
        input=json.dumps(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=folder,
        env=environment,
    )
    return [Ended(*each) for each in json.loads(ended.stdout.splitlines()[-1])]


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
    return one_line(Printed(*capsys.readouterr()))


def one_line(printed: Printed) -> str:
    """The one line on stderr; nothing may have gone to stdout."""
    assert printed.out == ""
    assert "Traceback" not in printed.err
    (line,) = printed.err.splitlines()
    assert line.startswith("portal: ")
    return line


def commands(command: Any, path: tuple[str, ...] = ("portal",)) -> Iterator[tuple[str, Any]]:
    """The command and all below it, by what is typed."""
    yield " ".join(path), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))
