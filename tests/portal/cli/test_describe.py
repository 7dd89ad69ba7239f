"""Tasks by their descriptions, on the command line: a source that learns them, and a task that has no row."""

import json
from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.cli import main
from portal.text import encoder as encoders
from tests.support.bases import TASKS
from tests.support.command_line import only_line
from tests.support.encoders import save_encoder

DESCRIBED = {
    "colours": ["name the colour", "choose the colour of the person"],
    "names": ["name the person"],
    "sums": ["what is the sum of a number and a number"],
}


def write_task(folder: Path, task: str, rows: Path, descriptions: list[str]) -> str:
    """A task file over rows of the world; its path."""
    path = folder / f"{task}.yaml"
    text = [f"data: {rows}", 'prompt: "{prompt}"', "choices: choices", "gold: gold"]
    path.write_text("\n".join([*text, f"descriptions: {json.dumps(descriptions)}"]))
    return str(path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def source(world: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Joint training with descriptions, on one base."""
    files = [write_task(tmp_path, task, world / "data" / task, DESCRIBED[task]) for task in TASKS]
    out = tmp_path / "source"
    command = [
        "train",
        "--source",
        "tiny-llama",
        "--tasks",
        ",".join(files),
        "--suite",
        "mini",
        "--rank",
        "2",
    ]
    command += ["--examples", "8", "--epochs", "1", "--no-base", "--text-encoder", str(encoder)]
    assert main([*command, "--out", str(out)]) == 0
    capsys.readouterr()
    return out


def teach(source: Path, tasks: str, out: Path, *options: str) -> list[str]:
    command = ["teach", str(source), "--on", "tiny-llama", "--tasks", tasks, "--out", str(out)]
    return [*command, "--examples", "0", *options]


def test_a_described_task_is_scored_and_exported_without_a_row(
    world: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out = "what is the number", tmp_path / "taught"
    task = write_task(tmp_path, "totals", world / "data" / "sums", [text])

    assert main(teach(source, task, out, "--suite", "mini")) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["frozen", "adapter"]
    taught = Artifact.load(out / "artifact")
    assert torch.equal(taught.latents["totals"], taught.described_latents({"totals": [text]})["totals"])
    assert taught.record is not None
    assert taught.record.lineage.method == "described"
    assert main(["inspect", str(out), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert found["understands_text"]
    assert main(["export", str(out), "--task", "totals", "--out", str(tmp_path / "adapter"), "--check"]) == 0


def test_a_description_on_the_command_line_stands_for_that_of_the_file(
    world: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "totals", world / "data" / "sums", ["name the town"])
    text = "what is the sum"

    assert main(teach(source, task, tmp_path / "taught", "--suite", "mini", "--describe", text)) == 0

    taught = Artifact.load(tmp_path / "taught" / "artifact")
    assert torch.equal(taught.latents["totals"], taught.described_latents({"totals": [text]})["totals"])


def test_teaching_with_rows_can_start_at_the_description(
    world: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "totals", world / "data" / "sums", ["name the town"])
    command = teach(source, task, tmp_path / "taught", "--suite", "mini", "--describe", "what is the sum")

    assert main([*command, "--examples", "4", "--epochs", "1", "--no-base"]) == 0

    (run,) = (tmp_path / "taught" / "runs").glob("*/run.json")
    config = json.loads(run.read_text())
    config = config.get("config", config)
    assert config["train"]["latent_start"] == "description"
    assert config["data"]["descriptions"] == {"totals": ["what is the sum"]}


def test_what_cannot_be_described_is_refused_in_one_line_and_leaves_nothing(
    world: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = world / "data" / "sums", tmp_path / "taught"
    mute, other = write_task(tmp_path, "totals", rows, []), write_task(tmp_path, "more", rows, [])

    assert main(teach(source, mute, out, "--suite", "mini")) == 2
    assert "task 'totals' has no description" in only_line(capsys)
    assert main(teach(source, f"{mute},{other}", out, "--suite", "mini", "--describe", "a sum")) == 2
    assert "one description is given for 2 tasks; describe each in its task file" in only_line(capsys)
    assert main(teach(world / "source", mute, out, "--suite", "mini", "--describe", "a sum")) == 2
    assert "trained without descriptions and understands none" in only_line(capsys)
    described = write_task(tmp_path, "kinds", rows, ["name the number"])
    for options, message in {
        ("--describe", " "): "the description is empty",
        ("--start", "nearest"): "0 examples train nothing",
        ("--epochs", "2"): "0 examples train nothing",
        ("--examples", "4", "--start", "nearest", "--describe", "a sum"): "not for start 'nearest'",
        ("--examples", "4", "--start", "mean", "--describe", "a sum"): "not for start 'mean'",
    }.items():
        assert main(teach(source, described, out, "--suite", "mini", *options)) == 2
        assert message in only_line(capsys)
    assert not out.exists()

    train = ["train", "--source", "tiny-llama", "--tasks", mute, "--suite", "mini", "--out", str(out)]
    assert main([*train, "--text-encoder", "nowhere"]) == 2
    assert "encoder 'nowhere': no such folder; known by name: minilm" in only_line(capsys)
    assert not out.exists()


def test_without_the_library_a_description_is_refused_before_anything_is_written(
    world: Path,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = write_task(tmp_path, "totals", world / "data" / "sums", ["name the number"])
    find_spec = encoders.find_spec
    monkeypatch.setattr(
        encoders, "find_spec", lambda name: None if name == "sentence_transformers" else find_spec(name)
    )

    assert main(teach(source, task, tmp_path / "taught", "--suite", "mini")) == 2

    assert "pip install 'portal-sweeps[text]'" in only_line(capsys)
    assert not (tmp_path / "taught").exists()


def test_a_ported_artifact_understands_descriptions_too(
    world: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ",".join(str(tmp_path / f"{task}.yaml") for task in TASKS)
    port = [
        "port",
        str(source),
        "--to",
        "tiny-gemma3",
        "--tasks",
        files,
        "--suite",
        "mini",
        "--examples",
        "4",
    ]
    assert main([*port, "--epochs", "1", "--no-base", "--out", str(tmp_path / "ported")]) == 0
    task = write_task(tmp_path, "totals", world / "data" / "sums", ["name the number"])

    on_port = teach(tmp_path / "ported", task, tmp_path / "taught", "--suite", "mini", "--on", "tiny-gemma3")
    assert main([*on_port, "--no-base"]) == 0
    assert main(teach(source, task, tmp_path / "other", "--suite", "mini", "--no-base")) == 0

    here, there = (Artifact.load(tmp_path / name / "artifact") for name in ("taught", "other"))
    assert torch.equal(here.latents["totals"], there.latents["totals"])


def test_an_empty_description_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = write_task(tmp_path, "totals", world / "data" / "sums", [" "])

    assert main(["tasks", "--tasks", task, "--suite", "mini"]) == 2
    assert "descriptions: one of them is empty" in only_line(capsys)


def test_a_sentence_is_enough_for_an_adapter(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out, adapter = "what is the number", tmp_path / "taught", tmp_path / "adapter"

    assert main(teach(source, "cause_effect_2", tmp_path / "typo", "--describe", text)) == 2
    assert "did you mean 'cause_effect'" in only_line(capsys)
    assert main(teach(source, "new-kinds", tmp_path / "group", "--describe", text)) == 2
    assert "one description is given for 24 tasks" in only_line(capsys)
    assert main(teach(source, "support", out, "--describe", text)) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"artifact: {out / 'artifact'}",
        "no test rows: what was gained is not known of support",
    ]
    taught = Artifact.load(out / "artifact")
    assert torch.equal(taught.latents["support"], taught.described_latents({"support": [text]})["support"])
    before, after = Artifact.load(source / "artifact" / "tiny-llama"), taught
    assert all(torch.equal(after.latents[task], before.latents[task]) for task in TASKS)
    assert main(["export", str(out), "--task", "support", "--out", str(adapter), "--check"]) == 0
    card = (adapter / "README.md").read_text()
    assert "| data | a description and no row: there is none |" in card
    assert "| licence of the task's rows | there are no rows |" in card


def test_rows_that_no_suite_has_are_still_asked_for_where_some_are_to_be_trained_on(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["teach", str(source), "--on", "tiny-llama", "--tasks", "support", "--describe", "a number"]
    command += ["--start", "description", "--examples", "4", "--out", str(tmp_path / "taught")]

    assert main(command) == 2

    assert "suite 'mini' has no task 'support'" in only_line(capsys)
