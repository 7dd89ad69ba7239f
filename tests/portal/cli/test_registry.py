"""A new base is one `port`, a new task one `teach`; the matrix shows both, and `adapters` writes it all."""

import json
import shutil
from pathlib import Path

import pytest

from portal.cli import main
from portal.results import RESULTS, read_table
from tests.support.bases import TASKS
from tests.support.command_line import only_line


def test_a_new_base_and_a_new_task_join_the_matrix_with_their_scores(
    world: Path, new_tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf, out = str(tmp_path / "registry"), str(tmp_path / "taught")
    port = ["port", str(world / "source"), "--to", "tiny-gemma3", "--out", str(tmp_path / "ported")]
    short = ["--examples", "4", "--epochs", "1", "--no-base", "--data", str(new_tasks), "--registry", shelf]
    teach = ["teach", str(world / "source"), "--on", "tiny-llama", "--tasks", "totals", "--out", out]

    assert main(["registry", shelf, "--add", str(world / "source")]) == 0
    assert "2 bases" in capsys.readouterr().out
    assert main([*port, *short, "--tasks", "sums,names"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"added to {shelf}: ")
    assert main([*teach, *short]) == 0
    capsys.readouterr()

    assert main(["registry", shelf, "--json"]) == 0
    (core,) = json.loads(capsys.readouterr().out)["cores"]
    assert [each["lineage"]["method"] for each in core["artifacts"]] == [
        "source",
        "source",
        "portal",
        "taught",
    ]
    adapters = {(cell["base"], cell["task"]): cell for cell in core["adapters"]}
    assert len(adapters) == 3 * (len(TASKS) + 1)
    assert adapters["tiny-gemma3", "sums"]["calibrated"]
    assert adapters["tiny-gemma3", "sums"]["score"]["num_examples"] == 8
    assert not adapters["tiny-gemma3", "colours"]["calibrated"]
    assert adapters["tiny-llama", "totals"]["score"] is not None
    assert adapters["tiny-gemma3", "totals"]["score"] is None

    of_task = ["--tasks", "totals", "--data", str(new_tasks)]
    assert main(["eval", "--registry", shelf, "--base", "tiny-gemma3", *of_task, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["tasks"]["totals"]
    taught = ["--artifact", str(tmp_path / "ported"), "--latents", out]
    assert main(["eval", *taught, "--base", "tiny-gemma3", *of_task, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["totals"] == scored

    assert main(["registry", shelf]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line.split() for line in lines if line.startswith("task "))
    cells = next(line.split() for line in lines if line.startswith("totals"))
    shown = dict(zip(header, cells, strict=True))
    on_llama = adapters["tiny-llama", "totals"]["score"]["score"]
    assert shown["tiny-qwen3"] == "?+"
    assert (shown["tiny-llama"], shown["tiny-gemma3"]) == (f"{on_llama:.3f}+", f"{scored['acc_norm']:.3f}+")
    assert (
        "has no score of 1 task on tiny-qwen3 (totals: give the task file, or --data): "
        f"portal eval --registry {shelf} --base tiny-qwen3 --tasks totals"
    ) in "\n".join(lines)


def test_scores_of_some_rows_or_of_another_split_are_not_kept(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = str(tmp_path / "registry")
    assert main(["registry", shelf, "--add", str(world / "ported")]) == 0
    score = ["eval", "--registry", shelf, "--base", "tiny-gemma3", "--data", str(world / "data")]

    assert main([*score, "--limit", "2"]) == 0
    assert main([*score, "--split", "validation"]) == 0
    assert len(list((tmp_path / "registry" / "scores").iterdir())) == 1  # of the port's own run
    assert main(score) == 0
    assert len(list((tmp_path / "registry" / "scores").iterdir())) == 2
    capsys.readouterr()


def test_an_artifact_brings_the_scores_of_its_run_once(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add = ["registry", str(tmp_path / "registry"), "--add", str(world / "ported"), "--json"]
    results = read_table(next((world / "ported" / "runs").glob("*/results.parquet")), RESULTS).to_pylist()
    scores = {row["task"]: row["acc_norm"] for row in results if row["split"] == "test"}  # of one epoch

    for _ in range(2):
        assert main(add) == 0
        (core,) = json.loads(capsys.readouterr().out)["cores"]
        assert {cell["task"]: cell["score"]["score"] for cell in core["adapters"]} == scores
    assert len(list((tmp_path / "registry" / "scores").iterdir())) == 1


def test_the_output_of_a_study_stands_for_its_artifacts(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study's runs lie as those of `train` and `port` do, but no link picks one of them."""
    study, shelf = tmp_path / "study", str(tmp_path / "registry")
    for name in ("source", "ported"):
        shutil.copytree(world / name / "runs", study / "runs", dirs_exist_ok=True)

    assert main(["registry", shelf, "--add", str(study), "--json"]) == 0

    (core,) = json.loads(capsys.readouterr().out)["cores"]
    made = [(each["number"], each["lineage"]["method"]) for each in core["artifacts"]]
    assert made == [(1, "source"), (2, "source"), (3, "portal")]
    assert all(cell["score"] is not None for cell in core["adapters"])
    assert len(core["adapters"]) == 3 * len(TASKS)
    for marker in (study / "runs").glob("*/DONE.json"):
        marker.unlink()
    assert main(["registry", shelf, "--add", str(study)]) == 2
    assert "none of its runs has left a portable artifact yet" in only_line(capsys)


def test_another_core_says_what_it_lacks(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf, data = str(tmp_path / "registry"), str(world / "data")
    train = ["train", "--source", "tiny-qwen3", "--tasks", "sums,names", "--data", data, "--rank", "3"]
    short = ["--examples", "4", "--epochs", "1", "--no-base", "--registry", shelf]
    assert main(["registry", shelf, "--add", str(world / "ported")]) == 0
    assert main([*train, "--out", str(tmp_path / "other"), *short]) == 0
    capsys.readouterr()

    assert main(["registry", shelf]) == 0
    text = capsys.readouterr().out
    assert "has no tiny-qwen3: portal port" in text
    assert "has no tiny-gemma3: portal port" in text
    assert "has no colours (colours: give the task file, or --data): portal teach" in text


def test_mistakes_are_one_line(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", str(tmp_path / "none")]) == 2
    assert "holds no artifact yet; `portal registry" in only_line(capsys)
    assert main(["registry", str(world / "ported")]) == 2
    assert "not a registry, it holds" in only_line(capsys)
    score = ["eval", "--base", "tiny-gemma3", "--registry", str(tmp_path / "r"), "--artifact", str(world)]
    assert main(score) == 2
    assert "--artifact, --adapter and --registry exclude each other" in only_line(capsys)
    assert main(["eval", "--base", "tiny-gemma3", "--core", "12ab"]) == 2
    assert "--core names a core of a registry" in only_line(capsys)


def test_a_task_of_a_file_is_scored_by_its_file_and_passed_over_where_nobody_names_it(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf, file = str(tmp_path / "registry"), tmp_path / "few.jsonl"
    lines = (world / "data" / "sums" / "train.jsonl").read_text().splitlines()[:10]
    rows = [{key: json.loads(line)[key] for key in ("prompt", "choices", "gold")} for line in lines]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    teach = ["teach", str(world / "source"), "--on", "tiny-llama", "--tasks", str(file), "--suite", "mini"]
    teach += ["--examples", "4", "--epochs", "1", "--no-base", "--out", str(tmp_path / "taught")]
    assert main([*teach, "--registry", shelf]) == 0
    capsys.readouterr()
    score = ["eval", "--registry", shelf, "--base", "tiny-llama", "--json"]

    assert main([*score, "--suite", "mini", "--tasks", str(file)]) == 0
    assert set(json.loads(capsys.readouterr().out)["tasks"]) == {"few"}
    assert main([*score, "--data", str(world / "data")]) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)["tasks"]) == {"colours", "names", "sums"}
    assert "has no rows of 'few' (if they come from task files, name these: --tasks few.jsonl;" in printed.err

    assert main(["registry", shelf, "--add", str(world / "ported")]) == 0
    hints = capsys.readouterr().out
    assert (
        f"has no score of 1 task on tiny-gemma3 (few: give the task file, or --data): portal eval --registry "
        f"{shelf} --base tiny-gemma3 --tasks few\n"
    ) in hints


@pytest.fixture
def shelf(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A registry of the world's source and port."""
    place = str(tmp_path / "registry")
    assert main(["registry", place, "--add", str(world / "source"), "--add", str(world / "ported")]) == 0
    capsys.readouterr()
    return place


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_every_adapter_is_the_one_that_export_writes(
    world: Path, shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapters"

    assert main(["adapters", "--registry", shelf, "--out", str(out)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * len(TASKS) + 1
    assert lines[-1] == f"which server has which adapter: {out / 'routing.py'}"
    assert {path.name for path in out.iterdir()} == {"tiny-qwen3", "tiny-llama", "tiny-gemma3", "routing.py"}
    assert '("tiny-llama", "sums"): "sums"' in (out / "routing.py").read_text()
    for artifact, base in (
        (world / "source/artifact/tiny-llama", "tiny-llama"),
        (world / "ported", "tiny-gemma3"),
    ):
        assert main(["export", str(artifact), "--all", "--out", str(tmp_path / base)]) == 0
        for task in TASKS:
            assert weights(out / base / task) == weights(tmp_path / base / task)


def test_a_routing_of_ones_own_is_not_replaced_and_nothing_is_written(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routing.py").write_text("SERVERS = {}\n")

    assert main(["adapters", "--registry", shelf, "--out", str(tmp_path)]) == 2

    assert "routing.py: not a file that portal has written" in capsys.readouterr().err
    assert list(tmp_path.rglob("adapter_config.json")) == []


def test_bases_and_tasks_are_chosen_by_name(shelf: str, tmp_path: Path) -> None:
    out = tmp_path / "adapters"
    command = ["adapters", "--registry", shelf, "--for", "tiny-gemma3,tiny-llama", "--tasks", "sums"]

    assert main([*command, "--out", str(out)]) == 0
    assert main([*command, "--out", str(out)]) == 0  # the same adapters are replaced

    found = sorted(str(path.parent.relative_to(out)) for path in out.rglob("adapter_config.json"))
    assert found == ["tiny-gemma3/sums", "tiny-llama/sums"]


def test_nothing_is_written_where_one_folder_is_taken(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "adapters"
    (out / "tiny-llama" / "sums").mkdir(parents=True)
    (out / "tiny-llama" / "sums" / "notes.txt").write_text("mine")

    assert main(["adapters", "--registry", shelf, "--out", str(out)]) == 2

    assert "holds other files" in only_line(capsys)
    assert list(out.rglob("adapter_config.json")) == []


def test_what_is_not_there_is_named_with_the_nearest(
    shelf: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["adapters", "--registry", shelf, "--out", str(tmp_path / "adapters")]

    assert main([*command, "--for", "tiny-lama"]) == 2
    assert "no artifact for base 'tiny-lama'; did you mean 'tiny-llama'?" in only_line(capsys)
    assert main([*command, "--tasks", "sum"]) == 2
    assert "no latent for task 'sum'; did you mean 'sums'?" in only_line(capsys)
    assert main(["adapters", "--registry", str(tmp_path / "none"), "--out", str(tmp_path / "a")]) == 2
    assert "holds no artifact" in only_line(capsys)
    assert not (tmp_path / "adapters").exists()
