"""`portal try`: lines of stdin answered by a base alone and with an adapter."""

import io
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from portal.artifacts.artifact import Artifact
from portal.bases.base import load_base
from tests.support.command_line import Portal


@pytest.fixture
def strong(world: Path, portal: Portal) -> Path:
    """A port whose updates are many times larger than those of a few steps, so that answers change."""
    folder = Path(shutil.copytree(world / "ported" / "artifact", "strong"))
    weights = folder / "model.safetensors"
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    scaled = {name: 3000 * each if "alignment.output" in name else each for name, each in tensors.items()}
    save_file(scaled, weights, metadata=metadata)
    (folder / "portal.json").unlink()  # it has the digests of what was trained
    return folder


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


COMMAND = "try strong --base tiny-gemma3 --task sums"


def test_each_line_is_answered_before_and_after_as_by_whole_forwards(
    strong: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "sums test 3?  \n\nwhat\\nthen\n")

    lines = portal(f"{COMMAND} --json --max-new-tokens 5 --stop", "").lines

    printed = [json.loads(line) for line in lines]
    artifact, tokenizer = Artifact.load(strong), load_base("tiny-gemma3").tokenizer
    assert [each["prompt"] for each in printed] == ["sums test 3?  ", "what\nthen"]
    for each in printed:
        for name, source in (("before", None), ("after", artifact)):
            tokens = greedy("tiny-gemma3", each["prompt"].rstrip(), source, each[name]["tokens"])
            if each[name]["reason"] == "length":
                assert len(tokens) == 5
                assert each[name]["text"] == tokenizer.decode(tokens, skip_special_tokens=True)
    assert printed[0]["before"] != printed[0]["after"]


def test_a_terminal_gets_two_lines_for_each_of_its_own_and_a_file_its_lines_with_their_answers(
    strong: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "one\n\ntwo\n", terminal=True)
    printed = portal(f"{COMMAND} --max-new-tokens 3")
    assert [line[:7] for line in printed.lines] == ["before:", "after: "] * 2
    assert printed.err.count("> ") == 4

    say(monkeypatch, "one\\ntwo\n")
    assert portal(f"{COMMAND} --max-new-tokens 2").lines[0] == "> one\\ntwo"


def test_a_line_that_the_base_cannot_read_costs_no_other(
    strong: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, f"one\n{'long ' * 9000}\ntwo\n")

    printed = portal(f"{COMMAND} --max-new-tokens 2 --json", code=2)

    assert [json.loads(line)["prompt"] for line in printed.lines] == ["one", "two"]
    told = r"portal: 1 line not answered: 'long .*: base .* reads at most .*"
    assert re.fullmatch(told, printed.err.splitlines()[-1])


def test_what_cannot_be_tried_is_one_line(
    strong: Path, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(monkeypatch, "one\n")
    for options, message in {
        "--max-new-tokens 0": "'--max-new-tokens': Input should be greater",
        "--temperature -1": "temperature -1 is below 0",
        "--system Briefly.": "give --chat with it",
    }.items():
        assert message in portal.refusal(f"{COMMAND} {options}")
    for options, message in {  # the artifact was read before the mistake was found
        "--task absent": "absent",
        "--base tiny-qwen3": "made for base 'tiny-gemma3'",
        "--max-new-tokens 100000": "reads at most",
    }.items():
        warning, refusal = portal(f"{COMMAND} {options}", code=2).err.splitlines()
        assert "no portal.json" in warning
        assert message in refusal
