"""`portal inspect`: what it says of an artifact, and that no weights are read."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from portal.cli import main
from portal.data.suites import load_suite
from tests.support.bases import TASKS


def copy_of_port(world: Path, folder: Path) -> Path:
    """The artifact of a port, without its weights."""
    copy = folder / "copy"
    shutil.copytree(world / "ported" / "artifact", copy)
    (copy / "model.safetensors").unlink()
    return copy


def test_an_artifact_is_described_without_its_weights(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of_port(world, tmp_path)
    with safe_open(world / "ported" / "artifact" / "model.safetensors", framework="pt") as file:
        sizes = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118 - not a mapping

    assert main(["inspect", str(copy), "--json"]) == 0

    (found,) = json.loads(capsys.readouterr().out)["artifacts"]
    record = json.loads((copy / "portal.json").read_bytes())
    assert sum(found["params"].values()) == sum(sizes.values())
    assert found["params"]["latents"] == sizes["task_latents"]
    assert (found["base"], found["core_sha256"]) == ("tiny-gemma3", record["core_sha256"])
    assert found["lineage"] == record["lineage"]
    assert [(each["task"], each["calibrated"]) for each in found["tasks"]] == [
        (task, True) for task in sorted(TASKS)
    ]

    assert main(["inspect", str(copy)]) == 0
    text = capsys.readouterr().out
    assert f"core          {record['core_sha256'][:12]}\n" in text
    assert f"{len(TASKS)} tasks, {len(TASKS)} of them calibrated\n" in text
    for task in TASKS:
        assert f"{task:<7}  yes\n" in text


def test_the_artifacts_of_joint_training_are_described_one_after_another(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(world / "source")]) == 0

    text = capsys.readouterr().out
    bases = [line.split()[1] for line in text.splitlines() if line.startswith("base ")]
    assert bases == sorted(path.name for path in (world / "source" / "artifact").iterdir())
    assert text.count("calibrated\n") == 2  # the number, and the column: tasks are shared


def test_one_that_portallib_wrote_has_no_record_and_many_tasks_are_summed_up_by_kind(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    village = load_suite("village")
    copy, tasks = copy_of_port(world, tmp_path), village.groups["search-25"]
    (copy / "portal.json").unlink()
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"tasks": tasks}))

    assert main(["inspect", str(copy)]) == 0
    text = capsys.readouterr().out
    assert "made by       not recorded\n" in text
    lines = [line.split() for line in text.splitlines()]
    assert lines[lines.index(["25", "tasks"]) + 1 :] == [
        ["kind", "tasks"],
        *([kind, "5"] for kind in sorted({village.kinds[task] for task in tasks})),
    ]

    assert main(["inspect", str(copy), "--by-task"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()][-25:] == [
        [task, village.kinds[task]] for task in tasks
    ]


def test_what_is_no_artifact_is_refused_in_one_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copy_of_port(world, tmp_path)
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"tasks": ["sums"]}))

    assert main(["inspect", str(copy)]) == 2
    assert "config.json: edited or damaged since portal.json was written" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert main(["inspect", str(copy.parent / "nowhere")]) == 2
    assert "no such artifact folder" in capsys.readouterr().err
