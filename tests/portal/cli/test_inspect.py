"""`portal inspect`: what it says of an artifact, and that no weights are read."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open

from portal.data.suites import load_suite
from tests.support.bases import TASKS
from tests.support.command_line import Portal


@pytest.fixture
def copy(world: Path, portal: Portal) -> Path:
    """The artifact of a port, without its weights, in the folder `copy`."""
    return Path(
        shutil.copytree(world / "ported/artifact", "copy", ignore=shutil.ignore_patterns("*.safetensors"))
    )


def name_tasks(copy: Path, tasks: list[str]) -> None:
    config = json.loads((copy / "config.json").read_bytes())
    (copy / "config.json").write_text(json.dumps(config | {"tasks": tasks}))


def test_an_artifact_is_described_without_its_weights(world: Path, copy: Path, portal: Portal) -> None:
    with safe_open(world / "ported" / "artifact" / "model.safetensors", framework="pt") as file:
        sizes = {name: file.get_tensor(name).numel() for name in file.keys()}  # noqa: SIM118 - not a mapping

    (found,) = portal("inspect copy --json").json["artifacts"]

    record = json.loads((copy / "portal.json").read_bytes())
    assert sum(found["params"].values()) == sum(sizes.values())
    assert found["params"]["latents"] == sizes["task_latents"]
    assert (found["base"], found["core_sha256"]) == ("tiny-gemma3", record["core_sha256"])
    assert found["lineage"] == record["lineage"]
    tasks = [(each["task"], each["calibrated"]) for each in found["tasks"]]
    assert tasks == [(task, True) for task in sorted(TASKS)]

    text = portal("inspect copy").out
    assert f"core          {record['core_sha256'][:12]}\n" in text
    assert f"{len(TASKS)} tasks, {len(TASKS)} of them calibrated\n" in text
    assert all(f"{task:<7}  yes\n" in text for task in TASKS)


def test_the_artifacts_of_joint_training_are_described_one_after_another(world: Path, portal: Portal) -> None:
    printed = portal(f"inspect '{world}/source'")

    bases = [cells[1] for cells in printed.cells if cells[:1] == ["base"]]
    assert bases == sorted(path.name for path in (world / "source" / "artifact").iterdir())
    assert printed.out.count("calibrated\n") == 2  # the number, and the column: tasks are shared


def test_one_that_portallib_wrote_has_no_record_and_many_tasks_are_summed_up_by_kind(
    copy: Path, portal: Portal
) -> None:
    village = load_suite("village")
    tasks = list(village.groups["search-25"])
    (copy / "portal.json").unlink()
    name_tasks(copy, tasks)

    printed = portal("inspect copy")
    assert "made by       not recorded\n" in printed.out
    kinds = sorted({village.kinds[task] for task in tasks})
    expected = [["25", "tasks"], ["kind", "tasks"], *([kind, "5"] for kind in kinds)]
    assert printed.cells[-len(expected) :] == expected
    assert portal("inspect copy --by-task").cells[-25:] == [[task, village.kinds[task]] for task in tasks]


def test_what_is_no_artifact_is_refused_in_one_line(copy: Path, portal: Portal) -> None:
    name_tasks(copy, ["sums"])
    damaged = portal.refusal("inspect copy")
    assert "config.json: edited or damaged since portal.json was written" in damaged
    assert "no config.json" in portal.refusal("inspect .")
    assert "no such artifact folder" in portal.refusal("inspect nowhere")
