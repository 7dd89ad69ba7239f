"""A user's task without code: JSONL rows, and YAML templates over the columns of a data set."""

import itertools
import json
import re
from pathlib import Path

import pytest

from portal.cli.app import main
from portal.data.suites import load_suite, open_suite
from portal.tasks.example import SPLITS, Example
from sweeps.study.expand import load_study
from tests.support.task_files import YAML, capitals, write_capitals, write_jsonl


def gold_text(example: Example) -> str:
    return example.choices[example.gold]


def test_templates_over_columns_make_a_task(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, [write_capitals(tmp_path)])

    assert tasks == ("capitals",)
    assert suite.licences["capitals"] == "MIT"
    counts = {split: len(suite.examples("capitals", split)) for split in SPLITS}
    assert counts == {"train": 36, "validation": 4, "test": 10}
    first = min(suite.examples("capitals", "test"), key=lambda example: example.id)
    assert first.prompt == "Question: what is the capital of Land 100?\nAnswer:"
    assert set(first.choices) == {" City 100", " Town 100"}
    assert gold_text(first) == " Town 100"


def test_rows_of_a_jsonl_file_make_a_task_with_slices_carved(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} + 1 =", "choices": [str(n), str(n + 1)], "gold": 1} for n in range(50)]
    path = write_jsonl(tmp_path / "plus_one.jsonl", rows)

    suite, tasks = open_suite(None, [str(path)])

    assert tasks == ("plus_one",)
    counts = {split: len(suite.examples("plus_one", split)) for split in SPLITS}
    assert counts == {"train": 36, "validation": 4, "test": 10}
    assert all(gold_text(e) == f" {int(e.prompt.split()[0]) + 1}" for e in suite.examples("plus_one", "test"))


def test_rows_that_name_their_split_stay_in_it(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n} + 1 =", "choices": [str(n), str(n + 1)], "gold": 1, "split": split}
        for n, split in enumerate(["train"] * 6 + ["validation"] * 3 + ["test"] * 2)
    ]
    path = write_jsonl(tmp_path / "plus_one.jsonl", rows)

    suite, _ = open_suite(None, [str(path)])

    counts = {split: len(suite.examples("plus_one", split)) for split in SPLITS}
    assert counts == {"train": 6, "validation": 3, "test": 2}


def test_a_task_file_joins_the_tasks_of_a_suite(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, ["fact_qa", write_capitals(tmp_path)])

    assert (suite.name, tasks) == ("mini", ("fact_qa", "capitals"))
    assert suite.examples("fact_qa", "test") == load_suite("mini").examples("fact_qa", "test")


def test_the_command_line_takes_a_task_file_like_a_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["eval", "--base", "mini-qwen3-xs", "--tasks", f"fact_qa,{write_capitals(tmp_path)}", "--json"]

    assert main([*command, "--limit", "5"]) == 0

    scores = json.loads(capsys.readouterr().out)["tasks"]
    assert {task: score["num_examples"] for task, score in scores.items()} == {"fact_qa": 5, "capitals": 5}


@pytest.mark.parametrize(
    ("change", "gold"),
    [
        ({"answer": 1}, " Town 0"),
        ({"answer": "1"}, " Town 0"),
        ({"answer": True}, " Town 0"),
        ({"answer": "City 0"}, " City 0"),
    ],
)
def test_gold_is_an_index_a_truth_value_or_a_choices_text(
    change: dict[str, object], gold: str, tmp_path: Path
) -> None:
    path = write_capitals(tmp_path)
    write_jsonl(tmp_path / "rows" / "held_out.jsonl", [capitals(0, 1)[0] | change])

    suite, _ = open_suite(None, [path])

    (example,) = suite.examples("capitals", "test")
    assert gold_text(example) == gold


def test_gold_can_be_a_key_in_a_column_of_keys(tmp_path: Path) -> None:
    rows = [
        {"q": f"Pick {n}", "options": {"text": ["one", "two"], "label": ["A", "B"]}, "key": "B"}
        for n in range(20)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "pick.yaml").write_text(
        'data: rows.jsonl\nprompt: "{q}"\nchoices: options.text\nkeys: options.label\ngold: key\n'
    )

    suite, tasks = open_suite(None, [str(tmp_path / "pick.yaml")])

    assert tasks == ("pick",)
    assert {gold_text(e) for split in SPLITS for e in suite.examples("pick", split)} == {" two"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gold: answer", "gold: truth", "row 0: no column 'truth'; it has a, answer, b, land"),
        ("{land.name}?", "{land.nam}?", "row 0: no 'land.nam' in it"),
        ("{land.name}?", "{land.name?", "capitals.yaml: a template is malformed"),
        ("data: rows", "data: elsewhere", "elsewhere: no train.parquet"),
        ("data: rows\n", "", "give one of 'data' and 'hub'"),
        ("licence:", "license:", "license: unknown key; did you mean 'licence'"),
        ("test: held_out", "test: held-out", "rows: no held-out.parquet"),
        (
            "data: rows",
            "data: rows.csv",
            "rows.csv: rows are read from .parquet and .jsonl files, not from .csv",
        ),
        ("gold: answer", "gold: a", None),
    ],
)
def test_a_fault_of_a_task_file_is_one_line_that_names_it(
    old: str, new: str, message: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_capitals(tmp_path, YAML.replace(old, new))
    (tmp_path / "rows.csv").write_text("a,b,answer\nx,y,x\n")

    code = main(["tasks", "--tasks", path])

    captured = capsys.readouterr()
    if message is None:
        assert code == 0
        return
    assert code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"choices": ["a", "b"], "gold": 0}, "split 'train', row 0: no column 'prompt'"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": 2}, "gold 2 is outside 0..1"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": "c"}, "gold 'c' is neither one of the choices nor"),
        ({"prompt": "x", "choices": "ab", "gold": 0}, "choices a list of texts"),
        ({"prompt": "x", "choices": ["a", 2], "gold": 0}, "a choice must be text, got 2"),
        ({"prompt": "x", "choices": ["a", "b"], "gold": 0, "split": "dev"}, "unknown split 'dev'"),
    ],
)
def test_a_fault_of_a_row_is_refused_by_number(row: dict[str, object], message: str, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "mine.jsonl", [row])

    with pytest.raises(ValueError, match=re.escape(message)):
        open_suite(None, [str(path)])[0].examples("mine", "train")


def test_a_name_that_the_suite_has_is_refused(tmp_path: Path) -> None:
    path = write_capitals(tmp_path, YAML.replace("task: capitals", "task: fact_qa"))

    with pytest.raises(ValueError, match="suite 'mini' has a task 'fact_qa' already"):
        open_suite(None, [path])


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("own.csv", "convert it with: python"), ("own.parquet", "a YAML task file whose `data` is a .parquet")],
)
def test_a_file_of_rows_is_no_task_file(name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("prompt,gold\nx,0\n")

    with pytest.raises(ValueError, match=rf"{name}: a task file ends in .yaml, .yml, .jsonl; .*{remedy}"):
        open_suite(None, [str(tmp_path / name)])


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such task file"):
        open_suite(None, [str(tmp_path / "mine.yaml")])


def test_rows_of_one_data_file_are_told_apart_by_their_split_column(tmp_path: Path) -> None:
    rows = [row | {"split": "dev" if index < 6 else "train"} for index, row in enumerate(capitals(0, 40))]
    write_jsonl(tmp_path / "all.jsonl", rows)
    path = tmp_path / "capitals.yaml"
    path.write_text(YAML.replace("data: rows", "data: all.jsonl").replace("held_out", "dev"))

    suite, _ = open_suite(None, [str(path)])

    prompts = {split: {e.prompt for e in suite.examples("capitals", split)} for split in SPLITS}
    assert len(prompts["test"]) == 6
    assert not prompts["test"] & (prompts["train"] | prompts["validation"])


def test_splits_that_one_data_file_does_not_name_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", capitals(0, 40))
    path = tmp_path / "capitals.yaml"
    path.write_text(YAML.replace("data: rows", "data: all.jsonl"))

    with pytest.raises(ValueError, match="its rows have no column 'split'; leave 'splits' out"):
        open_suite(None, [str(path)])


def write_three_splits(folder: Path, form: str, splits: str = "", **counts: int) -> str:
    """A task over rows of these splits, in one file or in a folder with a file each."""
    rows = {split: capitals(1000 * place, count) for place, (split, count) in enumerate(counts.items())}
    if form == "file":
        write_jsonl(folder / "all.jsonl", [row | {"split": split} for split in rows for row in rows[split]])
    for split in rows if form == "folder" else ():
        write_jsonl(folder / "all" / f"{split}.jsonl", rows[split])
    data = "all.jsonl" if form == "file" else "all"
    yaml = YAML.replace("data: rows", f"data: {data}")
    (folder / "capitals.yaml").write_text(yaml.replace("splits: {train: train, test: held_out}\n", splits))
    return str(folder / "capitals.yaml")


@pytest.mark.parametrize("form", ["file", "folder"])
@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"train": 60, "validation": 13, "test": 17}, {"train": 60, "validation": 13, "test": 17}),
        ({"train": 60, "validation": 13}, {"train": 48, "validation": 13, "test": 12}),
        ({"train": 60, "test": 17}, {"train": 54, "validation": 6, "test": 17}),
    ],
)
def test_without_names_of_splits_those_that_the_rows_have_are_used_and_others_carved(
    form: str, given: dict[str, int], counts: dict[str, int], tmp_path: Path
) -> None:
    suite, _ = open_suite(None, [write_three_splits(tmp_path, form, **given)])

    assert {split: len(suite.examples("capitals", split)) for split in SPLITS} == counts
    lands = [{e.prompt.split("Land ")[1] for e in suite.examples("capitals", split)} for split in SPLITS]
    assert all(not one & other for one, other in itertools.combinations(lands, 2))
    assert suite.lint("capitals").unread == {}


@pytest.mark.parametrize("form", ["file", "folder"])
def test_rows_of_splits_that_nobody_named_are_refused_and_counted_where_some_were_named(
    form: str, tmp_path: Path
) -> None:
    counts = {"train": 30, "dev": 7, "test": 5}

    with pytest.raises(ValueError, match=r"dev.*: its rows would be left out.* name the splits to read"):
        open_suite(None, [write_three_splits(tmp_path, form, **counts)])
    suite, _ = open_suite(None, [write_three_splits(tmp_path, form, "splits: {train: train}\n", **counts)])

    assert list(suite.lint("capitals").unread.values()) == [7, 5]
    assert [len(suite.examples("capitals", split)) for split in SPLITS] == [21, 3, 6]


def test_too_few_rows_of_a_plain_file_are_explained_by_the_dropped_one(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "1?", "choices": ["a", "b"], "gold": 0},
        {"prompt": "2?", "choices": ["a"], "gold": 0},
    ]
    path = write_jsonl(tmp_path / "two.jsonl", rows)

    with pytest.raises(ValueError, match=r"1 of split train: only one choice \(first: row 1\)"):
        open_suite(None, [str(path)])[0].examples("two", "train")


def test_rows_that_leave_the_cluster_out_share_none_with_another_split(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": f"{n}?", "choices": ["a", "b"], "gold": 0, "split": split}
        for n, split in enumerate(["train"] * 6 + ["validation"] * 3 + ["test"] * 4)
    ]
    rows[0]["cluster"] = rows[-1]["cluster"] = "both"
    path = write_jsonl(tmp_path / "mine.jsonl", rows)

    suite, _ = open_suite(None, [str(path)])

    assert suite.lint("mine").shared_clusters == 1
    assert [example.cluster for example in suite.examples("mine", "test")] == ["0", "1", "2", "both"]


def test_a_choices_column_must_hold_lists(tmp_path: Path) -> None:
    suite, _ = open_suite(None, [write_capitals(tmp_path, YAML.replace('["{a}", "{b}"]', "a"))])

    with pytest.raises(ValueError, match="row 0: column 'a' must hold a list, got 'City 0'"):
        suite.examples("capitals", "train")


def test_a_row_with_a_null_in_a_template_is_dropped_and_counted(tmp_path: Path) -> None:
    path = write_capitals(tmp_path)
    write_jsonl(tmp_path / "rows" / "train.jsonl", [*capitals(0, 40), {**capitals(50, 1)[0], "b": None}])

    suite, _ = open_suite(None, [path])

    assert suite.lint("capitals").reasons() == [
        "1 of split train: a column of a template is null (first: row 40)"
    ]


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".hidden", ""])
def test_a_task_name_that_is_no_folder_name_is_refused(name: str, tmp_path: Path) -> None:
    path = write_capitals(tmp_path, YAML.replace("task: capitals", f"task: {name!r}"))

    with pytest.raises(ValueError, match="is no task name"):
        open_suite(None, [path])


def test_a_study_finds_task_files_beside_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capitals(tmp_path / "studies")
    study = tmp_path / "studies" / "own.yaml"
    study.write_text(
        "name: own\ntasks: [fact_qa, capitals.yaml]\nseeds: [0]\nsources: [mini-qwen3-xs]\n"
        "targets: [mini-qwen3-xs]\nmethods: {base: {}, lora: {size: 8}}\n"
    )
    monkeypatch.chdir(tmp_path)

    runs = load_study(study).runs

    assert runs[0].data.tasks == ("fact_qa", "capitals")
    assert runs[0].data.files == {"capitals": "MIT"}


def test_a_task_file_names_the_kind_of_its_task(tmp_path: Path) -> None:
    suite, tasks = open_suite("village", ["home_01", write_capitals(tmp_path, f"kind: geography{YAML}")])

    assert suite.kinds_of(tasks) == {"home_01": "home", "capitals": "geography"}


def test_a_task_file_without_a_kind_has_none(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, [write_capitals(tmp_path)])

    assert suite.kinds_of(tasks) == {}


@pytest.mark.parametrize(
    ("kind", "message"),
    [("[a, b]", "kind: Input should be a valid string"), ("two words", "'two words' is no kind name")],
)
def test_a_kind_that_is_no_name_is_refused_naming_the_file(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_suite(None, [write_capitals(tmp_path, f"kind: {kind}{YAML}")])

    assert str(caught.value).startswith(str(tmp_path / "capitals.yaml"))
    assert "\n" not in str(caught.value)
