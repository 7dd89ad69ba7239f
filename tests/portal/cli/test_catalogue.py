"""`portal params`, `portal bases` and `portal tasks`: what there is, in numbers."""

import json
import re
from pathlib import Path

from portal.data.suites import open_suite
from portal.modules import ALL_MODULES
from tests.support.bases import TASKS
from tests.support.command_line import Portal
from tests.support.zoo import tiny_config


def test_params_prints_the_published_counts(portal: Portal) -> None:
    counts = portal("params --json").json

    assert counts["core"] == 17_483_776
    assert counts["converter"]["qwen3-8b"] == 13_632_640
    assert {name: round(count / 1e6, 2) for name, count in counts["converter"].items()} == {
        "qwen3-1.7b": 7.34,
        "qwen3-4b": 10.49,
        "qwen3-8b": 13.63,
        "gemma-3-4b": 8.39,
    }


def write_rows(path: str, *, count: int = 12, lead: str = " ", **more: str) -> None:
    rows = [
        {"prompt": f"{n} + 1 =", "choices": [f"{lead}{n}", f"{lead}{n + 1}"], "gold": 1, **more}
        for n in range(count)
    ]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_rows_of_a_folder_are_counted_and_the_first_are_shown_with_their_white_space(
    world: Path, portal: Portal
) -> None:
    counts = portal(f"tasks --data '{world}/data' --json").json["tasks"]
    assert counts == {task: {"train": 8, "validation": 8, "test": 8} for task in TASKS}

    printed = portal(f"tasks --suite '{world}/data' --tasks sums,names --show 2")
    shown = [line for line in printed.lines if " -> " in line]
    assert [line.split(": ")[0] for line in shown] == ["sums", "sums", "names", "names"]
    suite, _ = open_suite(str(world / "data"), ["sums"])
    first = suite.examples("sums", "train")[0]
    gold, *choices = map(json.dumps, (first.choices[first.gold], *first.choices))
    assert shown[0] == f"sums: {json.dumps(first.prompt)} -> {gold}, of {', '.join(choices)}"


def test_the_suite_is_named_only_for_tasks_that_are_of_it_and_a_written_answer_has_no_choices(
    portal: Portal,
) -> None:
    write_rows("plus_one.jsonl")
    rows = [{"prompt": f"Say {number}:", "answer": f" {number}"} for number in range(9)]
    Path("echo.jsonl").write_text("\n".join(map(json.dumps, rows)))

    alone = portal("tasks --tasks plus_one.jsonl").out
    beside = portal("tasks --tasks fact_qa,plus_one.jsonl").out
    (shown,) = [line for line in portal("tasks --tasks echo.jsonl --show 1").lines if " -> " in line]

    assert alone.startswith("plus_one: task file plus_one.jsonl\n")
    assert "suite mini" not in alone
    assert beside.startswith("suite mini, prompt set mini\nplus_one: task file plus_one.jsonl\n")
    as_json = portal("tasks --tasks fact_qa,plus_one.jsonl --json").json
    assert as_json["files"] == {"plus_one": "plus_one.jsonl"}
    assert re.fullmatch(r'echo: "Say (\d):" -> " \1"', shown)


def test_choices_without_white_space_are_told_with_what_it_does_to_their_tokens(portal: Portal) -> None:
    for split in ("train", "validation", "test"):
        write_rows(f"data/with/{split}.jsonl")
        write_rows(f"data/without/{split}.jsonl", lead="")

    (told,) = [line for line in portal("tasks --data data").lines if "white space" in line]

    assert told.startswith("without: rows with a choice that does not start with white space: 36; ")
    assert "its tokens continue the prompt's last word" in told


def test_a_base_is_described_by_its_modules_and_what_asking_for_some_means(portal: Portal) -> None:
    tiny_config("qwen3_5_text").save_pretrained("base")

    lines = portal("bases ./base").lines
    described = portal("bases qwen3-8b --json").json

    assert lines[0] == "./base: 4 layers"
    cells = [re.split(r" {2,}", line.strip()) for line in lines]
    assert ["in_qkv", "2", "32 x 96"] in [row[:3] for row in cells]
    assert ["v", "v 2, in_qkv 2"] in cells
    assert ["up", "up 4"] in cells
    assert lines[-1] == "scoring: one choice in a row"
    assert (described["layers"], described["choices_share_a_row"]) == (36, True)
    assert described["modules"]["v"] == {"layers": 36, "widths": [[4096, 1024]]}
    assert described["adapted"] == {module: {module: 36} for module in ALL_MODULES}
