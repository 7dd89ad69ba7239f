"""`portal teach`: an artifact with new tasks, which every command takes like any other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from portal.artifacts.artifact import Artifact
from portal.artifacts.artifact_files import WEIGHTS
from portal.artifacts.portal_record import core_sha256
from portal.cli import main
from portal.results import RESULTS, read_table
from tests.support.bases import TASKS
from tests.support.command_line import only_line


def teach_command(world: Path, data: Path, out: Path, *options: str, tasks: str = "totals") -> list[str]:
    command = ["teach", str(world / "source"), "--tasks", tasks, "--data", str(data), "--out", str(out)]
    return [*command, "--examples", "4", "--epochs", "1", "--on", "tiny-llama", *options]


def test_a_taught_artifact_has_its_old_tasks_and_the_new_one(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taught"

    assert main(teach_command(world, new_tasks, out)) == 0

    header, frozen, adapter, place, _, gains, gain, *verdict = capsys.readouterr().out.splitlines()
    assert header.split()[-1] == "log_loss"
    assert [line.split()[0] for line in (frozen, adapter)] == ["tiny-llama"] * 2
    assert float(adapter.split()[-1]) < float(frozen.split()[-1])
    assert place == f"artifact: {out / 'artifact'}"
    accuracies = [f"{float(line.split()[-2]):.3f}" for line in (frozen, adapter)]
    assert gains.split()[:3] == ["task", "test", "rows"]
    assert gain.split()[:2] == ["totals", "8"]
    assert gain.split()[3:5] == accuracies
    assert [line.partition(":")[0] for line in verdict] == ["no clear gain"] * (
        " (-" in gain or " (0.0 to" in gain
    )
    before = load_file(world / "source" / "artifact" / "tiny-llama" / WEIGHTS)
    after = load_file(out / "artifact" / WEIGHTS)
    assert torch.equal(after.pop("task_latents")[: len(TASKS)], before.pop("task_latents"))
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())

    assert main(["inspect", str(out), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert [(each["task"], each["calibrated"]) for each in found["tasks"]] == [
        *((task, True) for task in sorted(TASKS)),
        ("totals", False),
    ]
    assert found["lineage"]["method"] == "taught"


def test_a_taught_task_is_exported_scored_and_ported(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, adapter = tmp_path / "taught", tmp_path / "adapter"
    assert main(teach_command(world, new_tasks, out, "--no-base")) == 0
    capsys.readouterr()
    of_task = ["--tasks", "totals", "--data", str(new_tasks), "--json"]

    assert main(["eval", "--base", "tiny-llama", "--artifact", str(out), *of_task]) == 0
    generated = json.loads(capsys.readouterr().out)["macro"]
    assert main(["export", str(out), "--task", "totals", "--out", str(adapter)]) == 0
    capsys.readouterr()
    assert main(["eval", "--base", "tiny-llama", "--adapter", str(adapter), *of_task]) == 0
    assert json.loads(capsys.readouterr().out)["macro"] == generated

    port = ["port", str(out), "--to", "tiny-gemma3", "--out", str(tmp_path / "ported"), "--examples", "4"]
    assert main([*port, "--epochs", "1", "--no-base", "--data", str(new_tasks)]) == 0
    assert " 4 " in capsys.readouterr().out.splitlines()[1]  # tasks that are scored


def test_a_port_has_the_taught_task_without_a_row_of_it(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, adapter, ported = tmp_path / "taught", tmp_path / "adapter", world / "ported"
    assert main(teach_command(world, new_tasks, taught, "--no-base")) == 0
    capsys.readouterr()
    of_task = ["--base", "tiny-gemma3", "--tasks", "totals", "--data", str(new_tasks), "--json"]

    assert main(["eval", "--artifact", str(ported), "--latents", str(taught), *of_task]) == 0
    carried = json.loads(capsys.readouterr().out)["macro"]
    export = ["export", str(ported), "--latents", str(taught), "--out", str(adapter)]
    assert main([*export, "--task", "totals", "--check"]) == 0
    capsys.readouterr()
    assert main(["eval", "--adapter", str(adapter), *of_task]) == 0
    assert json.loads(capsys.readouterr().out)["macro"] == carried

    card = (adapter / "README.md").read_text()
    for fact in (
        "| made by | a latent carried to this base. The converter: converter refitted from a source on tiny-",
        "| the latent | latents of new tasks fitted on this base",
        "| data | of the latent: at most 4 rows of the task",
        "; no row of the task on this base |",
        "| scores | not recorded |",
    ):
        assert fact in card, fact
    assert "at most 8 rows" not in card  # those of the port's own tasks
    assert main(["export", str(taught), "--task", "sums", "--out", str(tmp_path / "old")]) == 0
    card = (tmp_path / "old" / "README.md").read_text()
    assert (
        "| made by | the artifact that new tasks were taught to, whose adapters stayed as they were |" in card
    )
    assert "fitted on this base" not in card

    own = ["export", str(world / "source" / "artifact" / "tiny-llama"), "--latents", str(taught)]
    assert main([*own, "--task", "totals", "--out", str(tmp_path / "here")]) == 0
    card = (tmp_path / "here" / "README.md").read_text()
    assert "| made by | a latent that was taught on this base. The converter: " in card
    assert "of the latent: at most 4 rows of the task" in card
    assert "on this base |" not in card.split("| data |")[1].splitlines()[0]

    assert main(["export", str(ported), "--task", "totals", "--out", str(adapter)]) == 2
    assert "has no task 'totals'" in capsys.readouterr().err
    assert main(["eval", "--latents", str(taught), *of_task]) == 2
    assert "name it with --artifact" in capsys.readouterr().err


def test_latents_of_another_core_are_refused_by_its_digest_and_nothing_is_written(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, other, adapter = tmp_path / "taught", tmp_path / "other", tmp_path / "adapter"
    assert main(teach_command(world, new_tasks, taught, "--no-base")) == 0
    train = ["train", "--source", "tiny-llama", "--tasks", ",".join(TASKS), "--data", str(world / "data")]
    short = ["--rank", "2", "--examples", "4", "--epochs", "1", "--no-base"]
    assert main([*train, *short, "--out", str(other)]) == 0
    digests = [
        core_sha256(Artifact.load(folder).tensors)[:12]
        for folder in (taught / "artifact", other / "artifact" / "tiny-llama")
    ]
    capsys.readouterr()

    for command in (
        ["export", str(other), "--latents", str(taught), "--task", "totals", "--out", str(adapter)],
        ["eval", "--artifact", str(other), "--latents", str(taught), "--base", "tiny-llama", "--tasks",
         "totals", "--data", str(new_tasks)],
    ):  # fmt: skip
        assert main(command) == 2
        refusal = only_line(capsys)
        assert all(f"the core {digest}" in refusal for digest in digests)
    assert not adapter.exists()


def test_what_cannot_be_taught_is_refused_in_one_line_and_leaves_nothing(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taught"

    assert main(teach_command(world, new_tasks, out, tasks="sums")) == 2
    assert "has task 'sums' already; give the new task another name" in capsys.readouterr().err
    assert main(teach_command(world, new_tasks, out, "--on", "tiny-gemma3")) == 2
    refusal = capsys.readouterr().err
    assert "holds artifacts of tiny-llama, tiny-qwen3, none of tiny-gemma3; `portal port " in refusal
    ported = ["teach", str(world / "ported"), "--on", "tiny-llama", "--tasks", "totals"]
    assert main([*ported, "--data", str(new_tasks), "--out", str(out)]) == 2
    assert "made for base 'tiny-gemma3'; 'tiny-llama'" in capsys.readouterr().err
    assert not out.exists()


def test_each_task_keeps_the_latent_that_its_validation_rows_prefer(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taught"

    assert main(teach_command(world, new_tasks, out, "--no-base", "--epochs", "3", "--start", "nearest")) == 0

    (run,) = [path for path in (out / "runs").iterdir() if (path / "artifact").is_dir()]
    config = json.loads((run / "run.json").read_bytes())
    train = config.get("config", config)["train"]
    assert (train["rounds_per_epoch"], train["keep"], train["latent_start"]) == (
        50,
        "best_validation",
        "nearest",
    )
    rows = read_table(run / "results.parquet", RESULTS).to_pylist()
    kept = {row["epoch"] for row in rows if row["kept"]}
    on_validation = {row["epoch"]: row["acc_norm"] for row in rows if row["split"] == "validation"}
    assert len(on_validation) == 4  # epoch 0 too, before the first step
    assert on_validation[kept.pop()] == max(value for epoch, value in on_validation.items() if epoch > 0)
    assert not kept
    capsys.readouterr()


def test_with_0_epochs_a_task_has_the_latent_of_the_nearest_one_and_its_name_is_told(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taught"

    assert main(teach_command(world, new_tasks, out, "--epochs", "0", "--start", "nearest")) == 0

    told = next(line for line in capsys.readouterr().out.splitlines() if "has the latent of" in line)
    artifact = Artifact.load(out / "artifact")
    assert told.startswith("totals has the latent of ")
    assert torch.equal(artifact.latents["totals"], artifact.latents[told.split()[-1]])
    assert told.split()[-1] in TASKS


def test_0_epochs_are_for_the_nearest_latent(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(teach_command(world, new_tasks, tmp_path / "taught", "--epochs", "0")) == 2

    assert "0 epochs train nothing: they go with start nearest" in only_line(capsys)


def test_an_unknown_start_is_named_with_the_nearest(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(teach_command(world, new_tasks, tmp_path / "taught", "--start", "near")) == 2
    assert "unknown 'near'; did you mean 'nearest'?" in capsys.readouterr().err


def write_rows(path: Path, world: Path, count: int) -> str:
    """A JSONL file of some training rows of the task sums; its path."""
    lines = (world / "data" / "sums" / "train.jsonl").read_text().splitlines()[:count]
    rows = [{key: json.loads(line)[key] for key in ("prompt", "choices", "gold")} for line in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_all_rows_of_a_small_file_are_trained_on_where_none_is_to_be_held_out(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write_rows(tmp_path / "few.jsonl", world, 3), tmp_path / "taught"
    command = ["teach", str(world / "source"), "--on", "tiny-llama", "--tasks", file, "--out", str(out)]
    command += ["--suite", "mini"]

    assert main([*command, "--examples", "3", "--no-hold-out"]) == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"artifact: {out / 'artifact'}",
        "no test rows: what was gained is not known of few",
    ]
    assert "were asked for" not in printed.err
    run = next(path for path in (out / "runs").iterdir() if path.is_dir())
    config = json.loads((run / "run.json").read_text())["config"]
    assert (config["train"]["evaluate"], config["train"]["keep"]) == ("last_epoch", "last")
    assert read_table(run / "results.parquet", RESULTS).num_rows == 0
    artifact = Artifact.load(out / "artifact")
    latents, records = artifact.latents, artifact.task_records
    assert (records["few"].tested, records["few"].kind) == (False, "choice")
    assert {records[task].tested for task in TASKS} == {True}
    mean = torch.stack([latents[task] for task in TASKS]).mean(0)
    assert not torch.allclose(latents["few"], mean, atol=1e-4)  # 200 steps were taken

    shelf = ["--registry", str(tmp_path / "shelf")]
    assert main(["registry", shelf[1], "--add", str(out)]) == 0
    score = ["eval", *shelf, "--base", "tiny-llama", "--suite", "mini", "--tasks", file, "--json"]
    assert main(score) == 0
    assert "few: taught without test rows, so rows that are scored now may be" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["registry", shelf[1], "--json"]) == 0
    adapters = json.loads(capsys.readouterr().out)["cores"][0]["adapters"]
    assert {each["task"]: each["score"] for each in adapters}["few"] is None

    port = ["port", str(out), "--to", "tiny-gemma3", "--data", str(world / "data"), "--examples", "4"]
    assert main([*port, "--epochs", "1", "--no-base", "--out", str(tmp_path / "ported")]) == 0
    assert "has no rows of 'few'" in capsys.readouterr().err  # the other tasks are enough for a port
    ported = Artifact.load(tmp_path / "ported" / "artifact")
    assert torch.equal(ported.latents["few"], latents["few"])
    assert ported.task_records["few"].tested is False


def test_fewer_rows_than_asked_for_are_told_with_what_would_give_more(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = write_rows(tmp_path / "few.jsonl", world, 8), tmp_path / "taught"
    command = ["teach", str(world / "source"), "--on", "tiny-llama", "--tasks", file, "--out", str(out)]
    command += ["--suite", "mini", "--examples", "8", "--epochs", "1"]

    assert main(command) == 0
    assert (
        "task 'few': 5 training rows are there, 8 were asked for; 1 row to validate and 2 to test are held "
        "out, and --no-hold-out trains on them, too"
    ) in capsys.readouterr().err
    one = write_rows(tmp_path / "one.jsonl", world, 1)
    assert main([part.replace(file, one) for part in command]) == 2
    assert "--no-hold-out" in capsys.readouterr().err


def test_rows_that_the_file_itself_sets_apart_are_not_called_held_out(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_rows(tmp_path / "own.jsonl", world, 8)
    rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
    marked = [{**row, "split": "test" if place < 2 else "train"} for place, row in enumerate(rows)]
    Path(file).write_text("".join(json.dumps(row) + "\n" for row in marked))
    command = ["teach", str(world / "source"), "--on", "tiny-llama", "--tasks", file, "--suite", "mini"]
    command += ["--examples", "8", "--epochs", "1", "--no-base", "--out", str(tmp_path / "taught")]

    assert main(command) == 0

    told = capsys.readouterr().err
    assert "5 training rows are there, 8 were asked for; 1 row to validate is held out" in told
    assert "to test" not in told
