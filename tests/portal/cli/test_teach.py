"""`portal teach`: an artifact with new tasks, which every command takes like any other."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.artifacts.artifact import Artifact
from portal.results import RESULTS, read_table
from tests.support.bases import TASKS
from tests.support.command_line import Portal


@pytest.fixture
def teach(world: Path, new_tasks: Path) -> str:
    """The command that teaches `totals`, in the folder `data`, to the source."""
    command = f"teach '{world}/source' --tasks totals --data {new_tasks.name} --out taught"
    return f"{command} --examples 4 --epochs 1 --on tiny-llama"


def run_folder() -> tuple[Path, dict[str, Any]]:
    """The folder of the run that taught, and its config."""
    (path,) = [path for path in Path("taught/runs").iterdir() if (path / "artifact").is_dir()]
    config = json.loads((path / "run.json").read_bytes())
    return path, config.get("config", config)


def test_a_taught_artifact_has_its_old_tasks_and_the_new_one(portal: Portal, teach: str) -> None:
    header, frozen, adapter, place, _, gains, gain, *verdict = portal(teach).lines

    assert header.split()[-1] == "log_loss"
    assert [line.split()[0] for line in (frozen, adapter)] == ["tiny-llama"] * 2
    assert float(adapter.split()[-1]) < float(frozen.split()[-1])
    assert place == "artifact: taught/artifact"
    accuracies = [f"{float(line.split()[-2]):.3f}" for line in (frozen, adapter)]
    assert gains.split()[:3] == ["task", "test", "rows"]
    assert gain.split()[:2] == ["totals", "8"]
    assert gain.split()[3:5] == accuracies
    assert [line.partition(":")[0] for line in verdict] == ["no clear gain"] * (
        " (-" in gain or " (0.0 to" in gain
    )

    (found,) = portal("inspect taught --json").json["artifacts"]
    assert [(each["task"], each["calibrated"]) for each in found["tasks"]] == [
        *((task, True) for task in sorted(TASKS)),
        ("totals", False),
    ]
    assert found["lineage"]["method"] == "taught"


def test_a_taught_task_is_exported_scored_and_ported_and_an_earlier_port_has_it_without_a_row_of_it(
    world: Path, teach: str, portal: Portal
) -> None:
    portal(f"{teach} --no-base")
    ported, score = world / "ported", "eval --base tiny-llama --tasks totals --data data --json"
    generated = portal(f"{score} --artifact taught").json["macro"]
    portal("export taught --task totals --out own")
    assert portal(f"{score} --adapter own").json["macro"] == generated
    port = "port taught --to tiny-gemma3 --out ported --data data --examples 4 --epochs 1 --no-base"
    assert " 4 " in portal(port).lines[1]  # tasks that are scored

    score = score.replace("tiny-llama", "tiny-gemma3")
    carried = portal(f"{score} --artifact '{ported}' --latents taught").json["macro"]
    portal(f"export '{ported}' --latents taught --out adapter --task totals --check")
    assert portal(f"{score} --adapter adapter").json["macro"] == carried

    card = Path("adapter/README.md").read_text()
    for fact in (
        "| made by | a latent carried to this base. The converter: converter refitted from a source on tiny-",
        "| the latent | latents of new tasks fitted on this base",
        "| data | of the latent: at most 4 rows of the task",
        "; no row of the task on this base |",
        "| scores | not recorded |",
    ):
        assert fact in card, fact
    assert "at most 8 rows" not in card  # those of the port's own tasks
    portal("export taught --task sums --out old")
    card = Path("old/README.md").read_text()
    assert (
        "| made by | the artifact that new tasks were taught to, whose adapters stayed as they were |" in card
    )
    assert "fitted on this base" not in card

    portal(f"export '{world}/source/artifact/tiny-llama' --latents taught --task totals --out here")
    card = Path("here/README.md").read_text()
    assert "| made by | a latent that was taught on this base. The converter: " in card
    assert "of the latent: at most 4 rows of the task" in card
    assert "on this base |" not in card.split("| data |")[1].splitlines()[0]

    assert "has no task 'totals'" in portal.refusal(f"export '{ported}' --task totals --out adapter")
    assert "name it with --artifact" in portal.refusal(f"{score} --latents taught")


def test_what_cannot_be_taught_is_refused_in_one_line_and_leaves_nothing(
    world: Path, portal: Portal, teach: str
) -> None:
    ported = f"teach '{world}/ported' --on tiny-llama --tasks totals --data data --out taught"
    for command, message in {
        f"{teach} --tasks sums": "has task 'sums' already; give the new task another name",
        f"{teach} --on tiny-gemma3": (
            "holds artifacts of tiny-llama, tiny-qwen3, none of tiny-gemma3; `portal port "
        ),
        f"{teach} --epochs 0": "0 epochs train nothing: they go with start nearest",
        f"{teach} --start near": "unknown 'near'; did you mean 'nearest'?",
        ported: "made for base 'tiny-gemma3'; 'tiny-llama'",
    }.items():
        assert message in portal.refusal(command)
    assert not Path("taught").exists()


def test_the_settings_of_teaching_are_those_of_the_page(portal: Portal, teach: str) -> None:
    portal(f"{teach} --no-base --epochs 3 --start nearest")

    run, config = run_folder()
    settings = tuple(config["train"][name] for name in ("rounds_per_epoch", "keep", "latent_start"))
    assert settings == (50, "best_validation", "nearest")
    rows = read_table(run / "results.parquet", RESULTS).to_pylist()
    assert {row["epoch"] for row in rows if row["split"] == "validation"} == {0, 1, 2, 3}


def test_with_0_epochs_a_task_has_the_latent_of_the_nearest_one_and_its_name_is_told(
    portal: Portal, teach: str
) -> None:
    (told,) = [
        line.split()[-1]
        for line in portal(f"{teach} --epochs 0 --start nearest").lines
        if line.startswith("totals has the latent of ")
    ]
    latents = Artifact.load(Path("taught/artifact")).latents
    assert torch.equal(latents["totals"], latents[told])
    assert told in TASKS


def write_rows(world: Path, path: str, count: int, tests: int | None = None) -> None:
    """A JSONL file of some training rows of the task sums, which may say that the first are test rows."""
    lines = (world / "data" / "sums" / "train.jsonl").read_text().splitlines()[:count]
    rows = [{key: json.loads(line)[key] for key in ("prompt", "choices", "gold")} for line in lines]
    if tests is not None:
        rows = [{**row, "split": "test" if at < tests else "train"} for at, row in enumerate(rows)]
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def teach_file(world: Path) -> str:
    """The command that teaches the task of a file, whose name is to follow."""
    return f"teach '{world}/source' --on tiny-llama --suite mini --out taught --tasks"


def test_all_rows_of_a_small_file_are_trained_on_where_none_is_to_be_held_out(
    world: Path, portal: Portal, teach_file: str
) -> None:
    write_rows(world, "few.jsonl", 3)

    printed = portal(f"{teach_file} few.jsonl --examples 3 --no-hold-out")

    assert printed.lines == ["artifact: taught/artifact", "no test rows: what was gained is not known of few"]
    assert "were asked for" not in printed.err
    run, config = run_folder()
    assert (config["train"]["evaluate"], config["train"]["keep"]) == ("last_epoch", "last")
    assert read_table(run / "results.parquet", RESULTS).num_rows == 0
    artifact = Artifact.load(Path("taught/artifact"))
    latents, records = artifact.latents, artifact.task_records
    assert (records["few"].tested, records["few"].kind) == (False, "choice")
    assert {records[task].tested for task in TASKS} == {True}
    mean = torch.stack([latents[task] for task in TASKS]).mean(0)
    assert not torch.allclose(latents["few"], mean, atol=1e-4)  # 200 steps were taken

    portal("registry shelf --add taught")
    told = portal("eval --registry shelf --base tiny-llama --suite mini --tasks few.jsonl --json").err
    assert "few: taught without test rows, so rows that are scored now may be" in told
    adapters = portal("registry shelf --json").json["cores"][0]["adapters"]
    assert {each["task"]: each["score"] for each in adapters}["few"] is None

    port = (
        f"port taught --to tiny-gemma3 --data '{world}/data' --examples 4 --epochs 1 --no-base --out ported"
    )
    assert "has no rows of 'few'" in portal(port).err  # the other tasks are enough for a port
    ported = Artifact.load(Path("ported/artifact"))
    assert torch.equal(ported.latents["few"], latents["few"])
    assert ported.task_records["few"].tested is False


def test_fewer_rows_than_asked_for_are_told_with_what_would_give_more(
    world: Path, portal: Portal, teach_file: str
) -> None:
    short = "--examples 8 --epochs 1 --no-base"
    write_rows(world, "few.jsonl", 8)
    assert (
        "task 'few': 5 training rows are there, 8 were asked for; 1 row to validate and 2 to test are held "
        "out, and --no-hold-out trains on them, too"
    ) in portal(f"{teach_file} few.jsonl {short}").err
    write_rows(world, "one.jsonl", 1)
    assert "--no-hold-out" in portal.refusal(f"{teach_file} one.jsonl {short}")

    write_rows(world, "own.jsonl", 8, tests=2)  # the file sets them apart, nobody holds them out
    told = portal(f"{teach_file} own.jsonl {short}").err
    assert "5 training rows are there, 8 were asked for; 1 row to validate is held out" in told
    assert "to test" not in told
