"""A folder of task files is a suite; what does not fit is refused naming file and row."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.data.suite import examples_hash
from portal.data.suites import NAMED_TASKS, load_suite, open_suite

ROWS: list[dict[str, Any]] = [
    {"prompt": "1 + 1 =", "choices": [" 2", " 3"], "gold": 0, "id": "b", "cluster": "easy"},
    {
        "prompt": "two\u2028lines\x85?",
        "choices": [" ä", " no", " maybe"],
        "gold": 2,
        "id": "a",
        "cluster": "hard",
    },
]


def write_jsonl(path: Path, records: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text(text, encoding="utf-8")


def write_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def make_suite(folder: Path, records: list[Any], *, task: str = "sums") -> Path:
    for split in ("train", "validation", "test"):
        write_jsonl(folder / task / f"{split}.jsonl", records)
    return folder


def test_a_folder_of_jsonl_files_is_a_suite(tmp_path: Path) -> None:
    make_suite(tmp_path, ROWS)
    make_suite(tmp_path, ROWS, task="adds")
    (tmp_path / "README.md").write_text("not a task")

    suite = load_suite(str(tmp_path))

    assert (suite.name, suite.prompt_set, suite.tasks) == (str(tmp_path), "verbatim", ("adds", "sums"))
    first, second = suite.examples("sums", "train")
    assert (first.task, first.id, first.prompt) == ("sums", "b", "1 + 1 =")
    assert (set(first.choices), first.choices[first.gold]) == ({" 2", " 3"}, " 2")
    assert (second.prompt, set(second.choices)) == ("two\u2028lines\x85?", {" ä", " no", " maybe"})
    assert (second.choices[second.gold], second.cluster) == (" maybe", "hard")


def test_parquet_and_jsonl_files_give_the_same_examples(tmp_path: Path) -> None:
    make_suite(tmp_path / "lines", ROWS)
    for split in ("train", "validation", "test"):
        write_parquet(tmp_path / "columns" / "sums" / f"{split}.parquet", ROWS)

    lines, columns = load_suite(str(tmp_path / "lines")), load_suite(str(tmp_path / "columns"))

    assert columns.examples("sums", "test") == lines.examples("sums", "test")
    assert examples_hash(columns, ["sums"]) == examples_hash(lines, ["sums"])


def test_rows_without_id_and_cluster_are_numbered_and_their_own_cluster(tmp_path: Path) -> None:
    bare = [{key: row[key] for key in ("prompt", "choices", "gold")} for row in ROWS]
    make_suite(tmp_path / "absent", bare)
    make_suite(tmp_path / "null", [row | {"id": None, "cluster": None} for row in bare])

    for name in ("absent", "null"):
        examples = load_suite(str(tmp_path / name)).examples("sums", "train")
        assert [(example.id, example.cluster) for example in examples] == [("0000000",) * 2, ("0000001",) * 2]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "not an object with named columns"),
        (ROWS[0] | {"prompt": None}, "'prompt' must be a str, got None"),
        ({"choices": [" 2", " 3"], "gold": 0}, "'prompt' must be a str, got None"),
        (ROWS[0] | {"choices": " 2"}, "'choices' must be a list, got ' 2'"),
        (ROWS[0] | {"choices": [" 2", 3]}, "every choice must be text, got [' 2', 3]"),
        (ROWS[0] | {"gold": "0"}, "'gold' must be a int, got '0'"),
        (ROWS[0] | {"gold": True}, "'gold' must be a int, got True"),
        (ROWS[0] | {"gold": 2}, "task 'sums', example 'b': gold index 2 is outside 0..1"),
        (ROWS[0] | {"choices": [" 2", " 2"]}, "task 'sums', example 'b': two choices are equal"),
        (ROWS[0] | {"choices": [" 2"]}, "task 'sums', example 'b': 1 choice, at least 2 are needed"),
    ],
)
def test_a_malformed_row_is_refused_naming_file_and_row(tmp_path: Path, record: Any, message: str) -> None:
    suite = load_suite(str(make_suite(tmp_path, [ROWS[1], record])))

    with pytest.raises(ValueError) as caught:
        suite.examples("sums", "validation")

    assert str(caught.value).startswith(f"{tmp_path / 'sums' / 'validation.jsonl'}, row 1: {message}")
    assert "\n" not in str(caught.value)


def test_two_rows_with_one_id_are_refused_naming_the_file(tmp_path: Path) -> None:
    suite = load_suite(str(make_suite(tmp_path, [ROWS[0], ROWS[1] | {"id": "b"}])))

    with pytest.raises(ValueError, match=r"train.jsonl: two rows have the same id"):
        suite.examples("sums", "train")


@pytest.mark.parametrize(
    ("name", "content"),
    [("train.jsonl", b'{"prompt": '), ("train.jsonl", b"\xff\xfe"), ("train.parquet", b"PAR1 no table")],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / name).write_bytes(content)

    with pytest.raises(ValueError, match=f"{name}: not readable as "):
        load_suite(str(tmp_path)).examples("sums", "train")


def test_a_missing_split_is_refused_naming_the_files_that_would_do(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sums" / "train.jsonl", ROWS)

    with pytest.raises(ValueError, match=r"sums: no test.parquet, test-\*.parquet or test.jsonl"):
        load_suite(str(tmp_path)).examples("sums", "test")


def test_an_unknown_suite_or_task_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    suite = load_suite(str(make_suite(tmp_path, ROWS)))

    with pytest.raises(ValueError, match="unknown suite 'mimi'; did you mean 'mini'"):
        load_suite("mimi")
    with pytest.raises(ValueError, match=r"has no task 'sum' .*; did you mean 'sums'"):
        suite.examples("sum", "train")
    with pytest.raises(ValueError, match=r"has no task 'sum' .*; did you mean 'sums'"):
        suite.choose(["sum"])


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "sums" / "test.jsonl", ROWS)

    with pytest.raises(ValueError, match=r"no TASK/train.jsonl or TASK/train.parquet"):
        load_suite(str(tmp_path))


def test_a_folder_whose_rows_are_in_another_format_is_refused_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "train.csv").write_text("prompt,choices,gold\n")

    with pytest.raises(ValueError, match=r"train.csv: rows are read from .* convert it with: python"):
        load_suite(str(tmp_path))


def test_an_unknown_task_may_be_one_of_a_file_that_is_to_be_named(tmp_path: Path) -> None:
    suite = load_suite(str(make_suite(tmp_path, ROWS)))

    with pytest.raises(
        ValueError, match=r"no task 'rows' \(if it comes from a task file.*--tasks rows.jsonl"
    ):
        suite.choose(["rows"])


def test_rows_without_a_cluster_share_none_and_those_that_no_split_reads_are_counted(tmp_path: Path) -> None:
    bare = [{key: row[key] for key in ("prompt", "choices", "gold")} for row in ROWS]
    suite = load_suite(str(make_suite(tmp_path, bare)))
    write_jsonl(tmp_path / "sums" / "dev.jsonl", bare)

    lint = suite.lint("sums")

    assert (lint.shared_clusters, lint.repeated) == (0, 2)
    assert lint.unread == {str(tmp_path / "sums" / "dev.jsonl"): 2}
    assert load_suite(str(make_suite(tmp_path / "named", ROWS))).lint("sums").shared_clusters == 2


def test_rows_whose_choices_do_not_start_with_white_space_are_counted(tmp_path: Path) -> None:
    stripped = [row | {"choices": [choice.strip() for choice in row["choices"]]} for row in ROWS]

    counts = [load_suite(str(make_suite(tmp_path / "with", ROWS))).lint("sums").unspaced]
    counts.append(load_suite(str(make_suite(tmp_path / "without", stripped))).lint("sums").unspaced)

    assert counts == [0, 6]


def test_names_of_tasks_and_groups_are_of_one_suite_only() -> None:
    suites = [load_suite(name) for name in NAMED_TASKS]
    names = [name for suite in suites for name in (*suite.tasks, *suite.groups)]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "suite"),
    [("fact_qa", "mini"), ("source-11", "village"), ("words-24", "words"), ("cb", "portal14")],
)
def test_the_suite_is_the_one_that_has_the_named_task_or_group(name: str, suite: str) -> None:
    assert open_suite(None, [name])[0].name == suite


def test_tasks_are_chosen_by_name_once_each_or_all(tmp_path: Path) -> None:
    make_suite(tmp_path, ROWS, task="adds")
    suite = load_suite(str(make_suite(tmp_path, ROWS)))

    assert suite.choose(None) == ("adds", "sums")
    assert suite.choose(["sums", "adds"]) == ("sums", "adds")
    with pytest.raises(ValueError, match="named twice: sums, sums"):
        suite.choose(["sums", "sums"])


def test_the_hash_of_the_examples_ignores_the_order_of_a_file_and_of_the_tasks(tmp_path: Path) -> None:
    for task in ("adds", "sums"):
        make_suite(tmp_path / "one", ROWS, task=task)
        make_suite(tmp_path / "two", ROWS[::-1], task=task)

    one, two = load_suite(str(tmp_path / "one")), load_suite(str(tmp_path / "two"))

    assert examples_hash(one, ["adds", "sums"]) == examples_hash(two, ["sums", "adds"])
    assert examples_hash(one, ["adds", "sums"]) != examples_hash(one, ["sums"])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "1 + 2 ="},
        {"choices": [" 2", " 4"]},
        {"choices": [" 3", " 2"]},
        {"gold": 1},
        {"cluster": "other"},
        {"id": "c"},
    ],
)
def test_the_hash_of_the_examples_changes_with_every_field_of_a_row_in_every_split(
    tmp_path: Path, split: str, change: dict[str, Any]
) -> None:
    suite = load_suite(str(make_suite(tmp_path, ROWS)))
    before = examples_hash(suite, ["sums"])

    write_jsonl(tmp_path / "sums" / f"{split}.jsonl", [ROWS[0] | change, ROWS[1]])

    assert examples_hash(load_suite(str(tmp_path)), ["sums"]) != before


def test_a_file_in_the_folder_names_the_kinds_of_its_tasks(tmp_path: Path) -> None:
    make_suite(tmp_path, ROWS, task="adds")
    make_suite(tmp_path, ROWS)
    assert load_suite(str(tmp_path)).kinds == {}

    (tmp_path / "kinds.yaml").write_text("sums: arithmetic\n")

    assert load_suite(str(tmp_path)).kinds == {"sums": "arithmetic"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sum: arithmetic", "the folder has no task 'sum'; did you mean 'sums'"),
        ("sums: 3", "sums: a kind is a word, got 3"),
        ("sums: two words", "sums: 'two words' is no kind name"),
        ("- sums", "not a mapping of keys to values"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused_naming_the_file(
    tmp_path: Path, content: str, message: str
) -> None:
    make_suite(tmp_path, ROWS)
    (tmp_path / "kinds.yaml").write_text(f"{content}\n")

    with pytest.raises(ValueError) as caught:
        load_suite(str(tmp_path))

    assert str(caught.value).startswith(f"{tmp_path / 'kinds.yaml'}: {message}")


def test_kinds_are_no_part_of_the_hash_of_the_examples(tmp_path: Path) -> None:
    before = examples_hash(load_suite(str(make_suite(tmp_path, ROWS))), ["sums"])
    (tmp_path / "kinds.yaml").write_text("sums: arithmetic\n")

    assert examples_hash(load_suite(str(tmp_path)), ["sums"]) == before


def test_looking_for_doubtful_rows_twice_finds_the_same(tmp_path: Path) -> None:
    suite = load_suite(str(make_suite(tmp_path, ROWS)))

    assert suite.lint("sums").counts() == suite.lint("sums").counts() == (0, 0, 2, 0, 2)
