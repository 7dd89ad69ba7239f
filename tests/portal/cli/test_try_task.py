"""`portal try`: lines of stdin answered by a base alone and with an adapter."""

import io
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from portal.cli import main
from tests.support.command_line import line_after, only_line


@pytest.fixture
def strong(world: Path, tmp_path: Path) -> Path:
    """A port whose updates are many times larger than those of a few steps, so that answers change."""
    folder = tmp_path / "strong"
    shutil.copytree(world / "ported" / "artifact", folder)
    weights = folder / "model.safetensors"
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    scaled = {name: 3000 * each if "alignment.output" in name else each for name, each in tensors.items()}
    save_file(scaled, weights, metadata=metadata)
    (folder / "portal.json").unlink()  # it has the digests of what was trained
    return folder


@pytest.fixture
def command(strong: Path) -> list[str]:
    return ["try", str(strong), "--base", "tiny-gemma3", "--task", "sums"]


def say(monkeypatch: pytest.MonkeyPatch, text: str, *, terminal: bool = False) -> None:
    spoken = io.StringIO(text)
    monkeypatch.setattr(spoken, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdin", spoken)


def greedy(base_name: str, prompt: str, artifact: Artifact | None, count: int) -> list[int]:
    """The likeliest tokens by whole forwards, one after another."""
    base = load_base(base_name)
    ids = base.tokenizer(prompt).input_ids
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            if artifact is None:
                logits = base.model(torch.tensor([ids])).logits
            else:
                with artifact.applied(base, "sums"):
                    logits = base.model(torch.tensor([ids])).logits
            ids.append(int(logits[0, -1].argmax()))
    return ids[start:]


def test_each_line_is_answered_before_and_after_as_by_whole_forwards(
    strong: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, "sums test 3?  \n\nwhat\\nthen\n")

    assert main([*command, "--json", "--max-new-tokens", "5", "--stop", ""]) == 0

    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    artifact, tokenizer = Artifact.load(str(strong)), load_base("tiny-gemma3").tokenizer
    assert [each["prompt"] for each in printed] == ["sums test 3?  ", "what\nthen"]
    for each in printed:
        for name, source in (("before", None), ("after", artifact)):
            tokens = greedy("tiny-gemma3", each["prompt"].rstrip(), source, each[name]["tokens"])
            if each[name]["reason"] == "length":
                assert len(tokens) == 5
                assert each[name]["text"] == tokenizer.decode(tokens, skip_special_tokens=True)
    assert printed[0]["before"] != printed[0]["after"]


def test_a_terminal_gets_two_lines_for_each_of_its_own(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, "one\n\ntwo\n", terminal=True)

    assert main([*command, "--max-new-tokens", "3"]) == 0

    printed = capsys.readouterr()
    assert [line[:7] for line in printed.out.splitlines()] == ["before:", "after: "] * 2
    assert printed.err.count("> ") == 4


def test_lines_of_a_file_are_shown_with_their_answers(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, "one\\ntwo\n")

    assert main([*command, "--max-new-tokens", "2"]) == 0

    assert capsys.readouterr().out.splitlines()[0] == "> one\\ntwo"


def test_a_line_that_the_base_cannot_read_costs_no_other(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say(monkeypatch, f"one\n{'long ' * 9000}\ntwo\n")

    assert main([*command, "--max-new-tokens", "2", "--json"]) == 2

    printed = capsys.readouterr()
    assert [json.loads(line)["prompt"] for line in printed.out.splitlines()] == ["one", "two"]
    told = r"portal: 1 line not answered: 'long .*: base .* reads at most .*"
    assert re.fullmatch(told, printed.err.splitlines()[-1])


WARNED = partial(line_after, "no portal.json")
"""Where the artifact was read before the mistake was found."""


@pytest.mark.parametrize(
    ("options", "message", "line"),
    [
        (["--task", "absent"], "absent", WARNED),
        (["--max-new-tokens", "0"], "'--max-new-tokens': Input should be greater", only_line),
        (["--temperature", "-1"], "temperature -1 is below 0", only_line),
        (["--system", "Be brief."], "give --chat with it", only_line),
        (["--base", "tiny-qwen3"], "made for base 'tiny-gemma3'", WARNED),
        (["--max-new-tokens", "100000"], "reads at most", WARNED),
    ],
)
def test_what_cannot_be_tried_is_one_line(
    options: list[str],
    message: str,
    line: Callable[[pytest.CaptureFixture[str]], str],
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    say(monkeypatch, "one\n")

    assert main([*command, *options]) == 2

    assert message in line(capsys)
