"""Help is written for strangers: whole sentences on every option, every command in a panel."""

from collections.abc import Callable, Iterable

import pytest
import typer

from portal.cli import completion, main
from portal.cli.app import app
from tests.support.command_line import commands

COMMANDS = dict(commands(typer.main.get_command(app)))


def is_sentence(text: str | None) -> bool:
    """Whether the text starts with a capital letter, says what it is of, and ends with a period."""
    return bool(text) and text[0].isupper() and text.endswith(".") and not text.startswith("Of ")


def test_every_option_and_argument_has_a_sentence_of_help() -> None:
    wrong = [
        f"{path} {parameter.name}: {parameter.help!r}"
        for path, command in COMMANDS.items()
        for parameter in command.params
        if not is_sentence(parameter.help)
    ]

    assert wrong == []


def test_every_command_has_sentences_of_help_and_a_panel() -> None:
    wrong = [
        path
        for path, command in COMMANDS.items()
        if not all(is_sentence(part.replace("\n", " ")) for part in command.help.split("\n\n"))
        or (path != "portal" and not command.rich_help_panel)
    ]

    assert wrong == []


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_printed_as_written(
    path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Markup in a text, as in `[RUN]`, would swallow words."""
    monkeypatch.setenv("COLUMNS", "400")

    assert main([*path.split()[1:], "--help"]) == 0

    printed = capsys.readouterr().out
    for parameter in COMMANDS[path].params:
        assert parameter.help in printed


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("executor", completion.executors),
        ("precision", completion.precisions),
        ("activations", completion.activations),
        ("recipe", completion.recipes),
        ("split", completion.splits),
    ],
)
def test_the_alternatives_in_help_are_those_that_there_are(
    option: str, names: Callable[[], Iterable[str]]
) -> None:
    shown = {
        parameter.metavar
        for command in COMMANDS.values()
        for parameter in command.params
        if parameter.name == option
    }

    assert {frozenset(metavar.split("|")) for metavar in shown} == {frozenset(names())}


def test_the_devices_in_help_are_those_that_a_plan_knows() -> None:
    (device,) = [each for each in COMMANDS["portal sweep plan"].params if each.name == "device"]

    assert device.metavar == "|".join(completion.planned_devices())
