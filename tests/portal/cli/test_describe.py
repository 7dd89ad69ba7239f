"""Tasks by their descriptions, on the command line: a source that learns them, and a task that has no row."""

import json
from pathlib import Path

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.text import encoder as encoders
from tests.support.bases import TASKS
from tests.support.command_line import Portal
from tests.support.encoders import save_encoder

DESCRIBED = {
    "colours": ["name the colour", "choose the colour of the person"],
    "names": ["name the person"],
    "sums": ["what is the sum of a number and a number"],
}
FILES = ",".join(f"{task}.yaml" for task in TASKS)
TEACH = "teach source --on tiny-llama --suite mini --examples 0 --out taught --tasks"
SENTENCE = TEACH.replace(" --suite mini", "")


def write_task(world: Path, task: str, *descriptions: str, rows: str = "sums") -> None:
    """A task file over rows of the world."""
    text = [f"data: {world}/data/{rows}", 'prompt: "{prompt}"', "choices: choices", "gold: gold"]
    Path(f"{task}.yaml").write_text("\n".join([*text, f"descriptions: {json.dumps(descriptions)}"]))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def source(world: Path, encoder: Path, portal: Portal) -> Artifact:
    """Joint training with descriptions, on one base, in a folder that is trained once for all tests."""
    for task in TASKS:
        write_task(world, task, *DESCRIBED[task], rows=task)
    command = f"train --source tiny-llama --tasks {FILES} --suite mini --rank 2 --examples 8 --epochs 1"
    trained = encoder.parent / "source"
    if not trained.exists():
        portal(f"{command} --no-base --text-encoder '{encoder}' --out '{trained}'")
    Path("source").symlink_to(trained)
    return Artifact.load(Path("source/artifact/tiny-llama"))


def is_latent_of(text: str, task: str, artifact: Artifact) -> bool:
    """Whether the task's latent is that of the text."""
    return torch.equal(artifact.latents[task], artifact.described_latents({task: [text]})[task])


def taught(name: str = "taught") -> Artifact:
    return Artifact.load(Path(name, "artifact"))


def test_a_described_task_is_scored_and_exported_without_a_row(
    world: Path, source: Artifact, portal: Portal
) -> None:
    write_task(world, "totals", "what is the number")

    scored = portal(f"{TEACH} totals.yaml").cells[1:3]

    assert [line[1] for line in scored] == ["frozen", "adapter"]
    assert is_latent_of("what is the number", "totals", taught())
    record = taught().record
    assert record is not None
    assert record.lineage.method == "described"
    (found,) = portal("inspect taught --json").json["artifacts"]
    assert found["understands_text"]
    portal("export taught --task totals --out adapter --check")


def test_a_description_on_the_command_line_stands_for_that_of_the_file_also_where_rows_are_trained_on(
    world: Path, source: Artifact, portal: Portal
) -> None:
    write_task(world, "totals", "name the town")
    text = "what is the sum"

    portal(f"{TEACH} totals.yaml --no-base --describe", text)
    assert is_latent_of(text, "totals", taught())

    portal(f"{TEACH} totals.yaml --examples 4 --epochs 1 --no-base --out rows --describe", text)
    (run,) = Path("rows/runs").glob("*/run.json")
    config = json.loads(run.read_text())
    config = config.get("config", config)
    assert config["train"]["latent_start"] == "description"
    assert config["data"]["descriptions"] == {"totals": [text]}


def test_what_cannot_be_described_is_refused_in_one_line_and_leaves_nothing(
    world: Path, source: Artifact, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task, descriptions in {"mute": [], "more": [], "empty": [" "], "kinds": ["name the number"]}.items():
        write_task(world, task, *descriptions)
    text = ("--describe", "a sum")
    untaught = TEACH.replace("teach source", f"teach '{world}/source'")
    for command, more, message in (
        ("mute.yaml", (), "task 'mute' has no description"),
        ("mute.yaml,more.yaml", text, "one description is given for 2 tasks; describe each in its task file"),
        ("kinds.yaml", ("--describe", " "), "the description is empty"),
        ("kinds.yaml --start nearest", (), "0 examples train nothing"),
        ("kinds.yaml --epochs 2", (), "0 examples train nothing"),
        ("kinds.yaml --examples 4 --start nearest", text, "not for start 'nearest'"),
        ("kinds.yaml --examples 4 --start mean", text, "not for start 'mean'"),
        ("support --start description --examples 4", text, "suite 'mini' has no task 'support'"),
    ):
        assert message in portal.refusal(f"{TEACH} {command}", *more)
    refusal = portal.refusal(f"{untaught} mute.yaml", *text)
    assert "trained without descriptions and understands none" in refusal
    assert "descriptions: one of them is empty" in portal.refusal("tasks --tasks empty.yaml --suite mini")
    train = "train --source tiny-llama --tasks mute.yaml --suite mini --out taught --text-encoder nowhere"
    assert "encoder 'nowhere': no such folder; known by name: minilm" in portal.refusal(train)

    find_spec = encoders.find_spec
    monkeypatch.setattr(
        encoders, "find_spec", lambda name: None if name == "sentence_transformers" else find_spec(name)
    )
    assert "pip install 'portal-sweeps[text]'" in portal.refusal(f"{TEACH} kinds.yaml")
    assert not Path("taught").exists()


def test_a_sentence_is_enough_for_an_adapter(source: Artifact, portal: Portal) -> None:
    text = "what is the number"

    assert "did you mean 'cause_effect'" in portal.refusal(f"{SENTENCE} cause_effect_2 --describe", text)
    group = portal.refusal(f"{SENTENCE} new-kinds --describe", text)
    assert "one description is given for 24 tasks" in group
    assert portal(f"{SENTENCE} support --describe", text).lines == [
        "artifact: taught/artifact",
        "no test rows: what was gained is not known of support",
    ]
    assert is_latent_of(text, "support", taught())
    assert all(torch.equal(taught().latents[task], source.latents[task]) for task in TASKS)
    portal("export taught --task support --out adapter --check")
    card = Path("adapter/README.md").read_text()
    assert "| data | a description and no row: there is none |" in card
    assert "| licence of the task's rows | there are no rows |" in card
