"""A new base is one `port`, a new task one `teach`; the matrix shows both, and `adapters` writes it all."""

import json
import shutil
from pathlib import Path

import pytest

from portal.results import RESULTS, read_table
from tests.support.bases import TASKS
from tests.support.command_line import Portal

SHORT = "--examples 4 --epochs 1 --no-base --registry shelf"


def test_a_new_base_and_a_new_task_join_the_matrix_with_their_scores(
    world: Path, new_tasks: Path, portal: Portal
) -> None:
    assert "2 bases" in portal(f"registry shelf --add '{world}/source'").out
    port = f"port '{world}/source' --to tiny-gemma3 --out ported --tasks sums,names --data data {SHORT}"
    assert portal(port).lines[-1].startswith("added to shelf: ")
    portal(f"teach '{world}/source' --on tiny-llama --tasks totals --out taught --data data {SHORT}")

    (core,) = portal("registry shelf --json").json["cores"]
    methods = [each["lineage"]["method"] for each in core["artifacts"]]
    assert methods == ["source", "source", "portal", "taught"]
    adapters = {(cell["base"], cell["task"]): cell for cell in core["adapters"]}
    assert len(adapters) == 3 * (len(TASKS) + 1)
    assert adapters["tiny-gemma3", "sums"]["calibrated"]
    assert adapters["tiny-gemma3", "sums"]["score"]["num_examples"] == 8
    assert not adapters["tiny-gemma3", "colours"]["calibrated"]
    assert adapters["tiny-llama", "totals"]["score"] is not None
    assert adapters["tiny-gemma3", "totals"]["score"] is None

    score = "eval --base tiny-gemma3 --tasks totals --data data --json"
    scored = portal(f"{score} --registry shelf").json["tasks"]["totals"]
    by_name = portal(f"{score} --artifact ported --latents taught").json
    assert by_name["tasks"]["totals"] == scored

    printed = portal("registry shelf")
    header, cells = (next(line for line in printed.cells if line[:1] == [k]) for k in ("task", "totals"))
    shown = dict(zip(header, cells, strict=True))
    on_llama = adapters["tiny-llama", "totals"]["score"]["score"]
    assert shown["tiny-qwen3"] == "?+"
    assert (shown["tiny-llama"], shown["tiny-gemma3"]) == (f"{on_llama:.3f}+", f"{scored['acc_norm']:.3f}+")
    assert (
        "has no score of 1 task on tiny-qwen3 (totals: give the task file, or --data): "
        "portal eval --registry shelf --base tiny-qwen3 --tasks totals"
    ) in printed.out


def test_an_artifact_brings_the_scores_of_its_run_once_and_scores_of_all_test_rows_join_them(
    world: Path, portal: Portal
) -> None:
    results = read_table(next((world / "ported" / "runs").glob("*/results.parquet")), RESULTS).to_pylist()
    scores = {row["task"]: row["acc_norm"] for row in results if row["split"] == "test"}  # of one epoch

    for _ in range(2):
        (core,) = portal(f"registry shelf --add '{world}/ported' --json").json["cores"]
        assert {cell["task"]: cell["score"]["score"] for cell in core["adapters"]} == scores
    for options, kept in {"": 1, "--limit 2": 1, "--split validation": 1, "--split test": 2}.items():
        if options:
            portal(f"eval --registry shelf --base tiny-gemma3 --data '{world}/data' {options}")
        assert len(list(Path("shelf/scores").iterdir())) == kept, options


def test_the_output_of_a_study_stands_for_its_artifacts(world: Path, portal: Portal) -> None:
    """A study's runs lie as those of `train` and `port` do, but no link picks one of them."""
    for name in ("source", "ported"):
        shutil.copytree(world / name / "runs", "study/runs", dirs_exist_ok=True)

    (core,) = portal("registry shelf --add study --json").json["cores"]

    made = [(each["number"], each["lineage"]["method"]) for each in core["artifacts"]]
    assert made == [(1, "source"), (2, "source"), (3, "portal")]
    assert all(cell["score"] is not None for cell in core["adapters"])
    assert len(core["adapters"]) == 3 * len(TASKS)
    for marker in Path("study/runs").glob("*/DONE.json"):
        marker.unlink()
    unfinished = portal.refusal("registry shelf --add study")
    assert "none of its runs has left a portable artifact yet" in unfinished


def test_another_core_says_what_it_lacks(world: Path, portal: Portal) -> None:
    portal(f"registry shelf --add '{world}/ported'")
    train = f"train --source tiny-qwen3 --tasks sums,names --data '{world}/data' --rank 3"
    portal(f"{train} --out other {SHORT}")

    text = portal("registry shelf").out
    assert "has no tiny-qwen3: portal port" in text
    assert "has no tiny-gemma3: portal port" in text
    assert "has no colours (colours: give the task file, or --data): portal teach" in text


def test_mistakes_are_one_line(world: Path, portal: Portal) -> None:
    for command, message in {
        "registry none": "holds no artifact yet; `portal registry",
        f"registry '{world}/ported'": "not a registry, it holds",
        f"eval --base tiny-gemma3 --registry r --artifact '{world}'": (
            "--artifact, --adapter and --registry exclude each other"
        ),
        "eval --base tiny-gemma3 --core 12ab": "--core names a core of a registry",
    }.items():
        assert message in portal.refusal(command)


def test_a_task_of_a_file_is_scored_by_its_file_and_passed_over_where_nobody_names_it(
    world: Path, portal: Portal
) -> None:
    lines = (world / "data" / "sums" / "train.jsonl").read_text().splitlines()[:10]
    rows = [{key: json.loads(line)[key] for key in ("prompt", "choices", "gold")} for line in lines]
    Path("few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    portal(f"teach '{world}/source' --on tiny-llama --tasks few.jsonl --suite mini --out taught {SHORT}")
    score = "eval --registry shelf --base tiny-llama --json"

    assert set(portal(f"{score} --suite mini --tasks few.jsonl").json["tasks"]) == {"few"}
    printed = portal(f"{score} --data '{world}/data'")
    assert set(printed.json["tasks"]) == {"colours", "names", "sums"}
    assert "has no rows of 'few' (if they come from task files, name these: --tasks few.jsonl;" in printed.err

    assert (
        "has no score of 1 task on tiny-gemma3 (few: give the task file, or --data): portal eval --registry "
        "shelf --base tiny-gemma3 --tasks few\n"
    ) in portal(f"registry shelf --add '{world}/ported'").out


@pytest.fixture
def adapters(world: Path, portal: Portal) -> str:
    """The command that writes the adapters of a registry of the world's source and port."""
    portal(f"registry shelf --add '{world}/source' --add '{world}/ported'")
    return "adapters --registry shelf --out adapters"


def test_adapters_are_chosen_by_base_and_task_and_are_those_that_export_writes(
    world: Path, adapters: str, portal: Portal
) -> None:
    out = Path("adapters")
    for _ in range(2):  # the same adapters are replaced
        portal(f"{adapters} --for tiny-gemma3,tiny-llama --tasks sums")
    found = {str(path.parent) for path in out.rglob("adapter_config.json")}
    assert found == {"adapters/tiny-gemma3/sums", "adapters/tiny-llama/sums"}

    lines = portal(adapters).lines

    assert len(lines) == 3 * len(TASKS) + 1
    assert lines[-1] == "which server has which adapter: adapters/routing.py"
    assert {path.name for path in out.iterdir()} == {"tiny-qwen3", "tiny-llama", "tiny-gemma3", "routing.py"}
    assert '("tiny-llama", "sums"): "sums"' in (out / "routing.py").read_text()
    for artifact, base in (("source/artifact/tiny-llama", "tiny-llama"), ("ported", "tiny-gemma3")):
        portal(f"export '{world}/{artifact}' --all --out {base}")
        for task in TASKS:
            written, exported = (Path(at, task, "adapter_model.safetensors") for at in (out / base, base))
            assert written.read_bytes() == exported.read_bytes()


def test_what_is_not_there_is_named_with_the_nearest_and_nothing_of_ones_own_is_replaced(
    adapters: str, portal: Portal
) -> None:
    Path("taken/tiny-llama/sums").mkdir(parents=True)
    Path("taken/tiny-llama/sums/notes.txt").write_text("mine")
    for command, message in {
        f"{adapters} --for tiny-lama": "no artifact for base 'tiny-lama'; did you mean 'tiny-llama'?",
        f"{adapters} --tasks sum": "no latent for task 'sum'; did you mean 'sums'?",
        "adapters --registry none --out a": "holds no artifact",
        f"{adapters} --out taken": "holds other files",
    }.items():
        assert message in portal.refusal(command)
    assert not Path("adapters").exists()
    assert not list(Path().rglob("adapter_config.json"))
