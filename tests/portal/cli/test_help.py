"""Help is for strangers: whole sentences on every option, every command in a panel; it loads nothing slow."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer

from cluster.render import KINDS
from portal.artifacts.serving import Server
from portal.cli import main
from portal.cli.app import app
from portal.config import ACTIVATIONS, DEVICES, PRECISIONS
from portal.recipes import RECIPES
from portal.tasks.example import SPLITS
from portal.train_config import LATENT_STARTS
from sweeps.launch.executors import EXECUTORS
from sweeps.planning.devices import GPUS
from tests.support.command_line import commands, in_new_process

COMMANDS = dict(commands(typer.main.get_command(app)))
ALTERNATIVES = {
    ("portal eval", "split"): SPLITS,
    ("portal train", "precision"): PRECISIONS,
    ("portal train", "activations"): ACTIVATIONS,
    ("portal train", "recipe"): RECIPES,
    ("portal teach", "start"): LATENT_STARTS,
    ("portal export", "serve"): get_args(Server),
    ("portal sweep run", "executor"): EXECUTORS,
    ("portal sweep run", "device"): DEVICES,
    ("portal sweep plan", "device"): (*GPUS, "cpu"),
    ("portal cluster template", "kind"): KINDS,
}
"""What an option takes, as the packages have it."""


def test_help_is_printed_as_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markup in a text, as in `[RUN]`, would swallow words."""
    monkeypatch.setenv("COLUMNS", "400")
    for path, command in COMMANDS.items():
        assert main([*path.split()[1:], "--help"]) == 0
        printed = capsys.readouterr().out
        assert [each.name for each in command.params if each.help not in printed] == [], path


def test_the_alternatives_in_help_are_those_that_there_are() -> None:
    for (path, name), known in ALTERNATIVES.items():
        (parameter,) = [each for each in COMMANDS[path].params if each.name == name]
        assert {*_alternatives(parameter.type_descriptor.annotation)} == {*known}, (path, name)


def _alternatives(annotation: Any) -> Iterator[str]:
    """The values of a Literal, also where it may be left out."""
    for each in get_args(annotation):
        if isinstance(each, str):
            yield each
        else:
            yield from _alternatives(each)


QUICK = [
    *([*path.split()[1:], "--help"] for path in COMMANDS),
    ["swep"],
    ["eval"],
    ["eval", "--bass", "x"],
    ["eval", "--base", "x", "--limit", "0"],
    ["eval", "--base", "x", "--device", "tpu"],
    ["eval", "--base", "x", "--device", "cuda:1"],
    ["train", "--source", "x", "--out", "o", "--precision", "8bits"],
    ["train", "--source", "x", "--out", "o", "--modules", "q,gates"],
    ["train", "--source", "x", "--out", "o", "--tasks", "summs"],
    ["train", "--source", "x", "--out", "o", "--suite", "minni"],
    ["port", "none", "--to", "x", "--out", "o", "--recipe", "papre"],
    ["teach", "none", "--on", "x", "--tasks", "t", "--out", "o", "--start", "near"],
    ["export", "none", "--out", "o", "--layout", "vllm"],
    ["params", "--modules", "q,gates"],
    ["tasks", "--suite", "minni"],
    ["sweep", "run", "demo", "--executor", "lokal"],
    ["sweep", "plan", "demo", "--device", "b20"],
    ["sweep", "plan", "demmo"],
    ["sweep", "run", "none.yaml"],
    ["cluster", "template", "slrum"],
    ["report", "a", "b", "c", "--out", "r"],
]
"""Command lines that are answered before anything slow is loaded: with help, or with what is wrong."""


def test_help_and_mistakes_in_a_command_line_load_neither_torch_nor_ray() -> None:
    for line, ended in zip(QUICK, in_new_process(QUICK), strict=True):
        assert (ended.code, ended.slow) == (0 if "--help" in line else 2, []), line
