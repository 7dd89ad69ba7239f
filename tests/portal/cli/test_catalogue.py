"""`portal params`, `portal bases` and `portal tasks`: what there is, in numbers."""

import json
import re
from pathlib import Path

import pytest

from portal.cli import main
from portal.data.suites import open_suite
from portal.modules import ALL_MODULES
from tests.support.bases import TASKS
from tests.support.zoo import tiny_config


def test_params_prints_the_published_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params", "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)
    assert counts["core"] == 17_483_776
    assert counts["converter"]["qwen3-8b"] == 13_632_640
    assert {name: round(count / 1e6, 2) for name, count in counts["converter"].items()} == {
        "qwen3-1.7b": 7.34,
        "qwen3-4b": 10.49,
        "qwen3-8b": 13.63,
        "gemma-3-4b": 8.39,
    }


def test_tasks_counts_the_rows_of_a_folder(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "--data", str(world / "data"), "--json"]) == 0

    counts = json.loads(capsys.readouterr().out)["tasks"]
    assert counts == {task: {"train": 8, "validation": 8, "test": 8} for task in TASKS}


def write_rows(path: Path, *, count: int = 12, lead: str = " ", split: str | None = None) -> Path:
    rows = [
        {"prompt": f"{n} + 1 =", "choices": [f"{lead}{n}", f"{lead}{n + 1}"], "gold": 1}
        | ({} if split is None else {"split": split})
        for n in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_the_first_rows_are_shown_with_their_white_space(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", "--suite", str(world / "data"), "--tasks", "sums,names", "--show", "2"]) == 0

    shown = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert [line.split(": ")[0] for line in shown] == ["sums", "sums", "names", "names"]
    suite, _ = open_suite(str(world / "data"), ["sums"])
    first = suite.examples("sums", "train")[0]
    choices = ", ".join(json.dumps(choice) for choice in first.choices)
    assert shown[0] == (
        f"sums: {json.dumps(first.prompt)} -> {json.dumps(first.choices[first.gold])}, of {choices}"
    )


def test_a_written_answer_is_shown_without_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "echo.jsonl"
    rows = [{"prompt": f"Say {number}:", "answer": f" {number}"} for number in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)))

    assert main(["tasks", "--tasks", str(path), "--show", "1"]) == 0

    (shown,) = [line for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert re.fullmatch(r'echo: "Say (\d):" -> " \1"', shown)


def test_the_suite_is_named_only_for_tasks_that_are_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "plus_one.jsonl")

    assert main(["tasks", "--tasks", str(path)]) == 0
    alone = capsys.readouterr().out
    assert main(["tasks", "--tasks", f"fact_qa,{path}"]) == 0
    beside = capsys.readouterr().out
    assert main(["tasks", "--tasks", f"fact_qa,{path}", "--json"]) == 0

    assert alone.startswith(f"plus_one: task file {path}\n")
    assert "suite mini" not in alone
    assert beside.startswith(f"suite mini, prompt set mini\nplus_one: task file {path}\n")
    assert json.loads(capsys.readouterr().out)["files"] == {"plus_one": str(path)}


def test_rows_that_no_split_reads_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, count in {"train": 12, "test": 7}.items():
        write_rows(tmp_path / "rows.jsonl", count=count, split=split)
    task = tmp_path / "plus_one.yaml"
    task.write_text(
        "data: rows.jsonl\nsplits: {train: train}\nprompt: '{prompt}'\nchoices: choices\ngold: gold\n"
    )

    assert main(["tasks", "--tasks", str(task)]) == 0

    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"plus_one: no split reads the rows of split 'test' of {tmp_path / 'rows.jsonl'}: 7"


def test_choices_without_white_space_are_told_with_what_it_does_to_their_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "with" / f"{split}.jsonl")
        write_rows(tmp_path / "without" / f"{split}.jsonl", lead="")

    assert main(["tasks", "--data", str(tmp_path)]) == 0

    told = [line for line in capsys.readouterr().out.splitlines() if "white space" in line]
    assert len(told) == 1
    assert told[0].startswith("without: rows with a choice that does not start with white space: 36; ")
    assert "its tokens continue the prompt's last word" in told[0]


def test_a_base_is_described_by_its_modules_and_what_asking_for_some_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config("qwen3_5_text").save_pretrained(tmp_path)

    assert main(["bases", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}: 4 layers"
    assert ["in_qkv", "2", "32 x 96"] in [line.split("  ")[:3] for line in map(squeezed, lines)]
    cells = [line.split("  ") for line in map(squeezed, lines)]
    assert ["v", "v 2, in_qkv 2"] in cells
    assert ["up", "up 4"] in cells
    assert lines[-1] == "scoring: one choice in a row"


def squeezed(line: str) -> str:
    """The cells of a printed table's row, two spaces apart."""
    return re.sub(r" {2,}", "  ", line.strip())


def test_a_base_as_json_has_layers_and_widths_by_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bases", "qwen3-8b", "--json"]) == 0

    described = json.loads(capsys.readouterr().out)
    assert described["layers"] == 36
    assert described["modules"]["v"] == {"layers": 36, "widths": [[4096, 1024]]}
    assert described["adapted"] == {module: {module: 36} for module in ALL_MODULES}
    assert described["choices_share_a_row"] is True
