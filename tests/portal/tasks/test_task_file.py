"""A user's task without code: JSONL rows, and YAML templates over the columns of a data set."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from portal.answers import AnswerConfig
from portal.cli.app import main
from portal.data.suites import Suite, load_suite, open_suite, split_hash
from portal.tasks.example import SPLITS, Example, Written
from sweeps.study.expand import load_study
from tests.support.task_files import YAML, capitals, write_capitals, write_jsonl

WRITTEN = """
task: capitals
data: rows
answer: text
splits: {train: train, test: held_out}
prompt: "{land.name}:"
references: ["{answer}", "{a}"]
metric: token_f1
stop: ["\\n"]
max_new_tokens: 12
pattern: "([A-Za-z ]+)"
"""


def gold_text(example: Example) -> str:
    return example.choices[example.gold]


def sizes(suite: Suite, task: str) -> list[int]:
    return [len(suite.examples(task, split)) for split in SPLITS]


def first(suite: Suite, task: str, split: str) -> Example:
    return min(suite.examples(task, split), key=lambda example: example.id)


def plain(folder: Path, rows: list[dict[str, Any]], name: str = "mine") -> Suite:
    """The suite with the task of a file of these rows."""
    return open_suite(None, [str(write_jsonl(folder / f"{name}.jsonl", rows))])[0]


def test_templates_over_columns_make_a_task_beside_those_of_a_suite(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, ["fact_qa", write_capitals(tmp_path)])

    assert (suite.name, tasks) == ("mini", ("fact_qa", "capitals"))
    assert suite.examples("fact_qa", "test") == load_suite("mini").examples("fact_qa", "test")
    assert suite.licences["capitals"] == "MIT"
    assert sizes(suite, "capitals") == [36, 4, 10]
    example = first(suite, "capitals", "test")
    assert example.prompt == "Question: what is the capital of Land 100?\nAnswer:"
    assert set(example.choices) == {" City 100", " Town 100"}
    assert gold_text(example) == " Town 100"


def test_rows_of_a_jsonl_file_are_carved_or_stay_in_the_split_that_they_name(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} + 1 =", "choices": [str(n), str(n + 1)], "gold": 1} for n in range(50)]
    carved = plain(tmp_path, rows, "plus_one")
    marks = ["train"] * 40 + ["validation"] * 7 + ["test"] * 3
    named = plain(tmp_path, [row | {"split": mark} for row, mark in zip(rows, marks, strict=True)], "named")

    assert sizes(carved, "plus_one") == [36, 4, 10]
    assert sizes(named, "named") == [40, 7, 3]
    for example in carved.examples("plus_one", "test"):
        assert gold_text(example) == f" {int(example.prompt.split()[0]) + 1}"


def test_gold_is_an_index_a_truth_value_a_choices_text_or_a_key(tmp_path: Path) -> None:
    path = write_capitals(tmp_path)
    for answer, gold in ((1, " Town 0"), ("1", " Town 0"), (True, " Town 0"), ("City 0", " City 0")):
        write_jsonl(tmp_path / "rows" / "held_out.jsonl", [capitals(0, 1)[0] | {"answer": answer}])
        (example,) = open_suite(None, [path])[0].examples("capitals", "test")
        assert gold_text(example) == gold

    options = {"text": ["one", "two"], "label": ["A", "B"]}
    write_jsonl(tmp_path / "rows.jsonl", [{"q": f"{n}?", "o": options, "key": "B"} for n in range(20)])
    (tmp_path / "pick.yaml").write_text(
        'data: rows.jsonl\nprompt: "{q}"\nchoices: o.text\nkeys: o.label\ngold: key\n'
    )
    suite, tasks = open_suite(None, [str(tmp_path / "pick.yaml")])
    assert tasks == ("pick",)
    assert {gold_text(e) for split in SPLITS for e in suite.examples("pick", split)} == {" two"}


FAULTS = (
    ("gold: answer", "gold: truth", "row 0: no column 'truth'; it has a, answer, b, land"),
    ("{land.name}?", "{land.nam}?", "row 0: no 'land.nam' in it"),
    ("{land.name}?", "{land.name?", "capitals.yaml: a template is malformed"),
    ("data: rows", "data: elsewhere", "elsewhere: no train.parquet"),
    ("data: rows\n", "", "give one of 'data' and 'hub'"),
    ("licence:", "license:", "license: unknown key; did you mean 'licence'"),
    ("test: held_out", "test: held-out", "rows: no held-out.parquet"),
    ("data: rows", "data: rows.csv", "rows.csv: rows are read from .parquet and .jsonl files, not from"),
    ('["{a}", "{b}"]', "a", "row 0: column 'a' must hold a list, got 'City 0'"),
    ("task: capitals", "task: fact_qa", "suite 'mini' has a task 'fact_qa' already"),
    ("licence:", "kind: [a, b]\nlicence:", "capitals.yaml: kind: Input should be a valid string"),
    ("licence:", "kind: two words\nlicence:", "'two words' is no kind name"),
    *(("task: capitals", f"task: {name!r}", "is no task name") for name in ("../evil", "a/b", ".x", "")),
)
"""What is replaced in a task file, by what, and how that is refused."""


def test_a_fault_of_a_task_file_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.csv").write_text("a,b,answer\nx,y,x\n")
    for old, new, message in FAULTS:
        assert old in YAML
        assert main(["tasks", "--tasks", write_capitals(tmp_path, YAML.replace(old, new))]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_fault_of_a_row_is_refused_by_number(tmp_path: Path) -> None:
    row = {"prompt": "x", "choices": ["a", "b"], "gold": 0}
    for faulty, message in (
        ({"choices": ["a", "b"], "gold": 0}, "split 'train', row 0: no column 'prompt'"),
        (row | {"gold": 2}, "gold 2 is outside 0..1"),
        (row | {"gold": "c"}, "gold 'c' is neither one of the choices nor"),
        (row | {"choices": "ab"}, "choices a list of texts"),
        (row | {"choices": ["a", 2]}, "a choice must be text, got 2"),
        (row | {"split": "dev"}, "unknown split 'dev'"),
        (row | {"choices": ["a"]}, "1 of split train: only one choice (first: row 0)"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            plain(tmp_path, [faulty]).examples("mine", "train")


def write_splits(folder: Path, form: str, splits: str = "", **counts: int) -> str:
    """A task over rows of these splits, in one file or in a folder with a file each."""
    rows = {split: capitals(1000 * place, count) for place, (split, count) in enumerate(counts.items())}
    if form == "file":
        write_jsonl(folder / "all.jsonl", [row | {"split": split} for split in rows for row in rows[split]])
    for split in rows if form == "folder" else ():
        write_jsonl(folder / "all" / f"{split}.jsonl", rows[split])
    yaml = YAML.replace("data: rows", "data: all.jsonl" if form == "file" else "data: all")
    (folder / "capitals.yaml").write_text(yaml.replace("splits: {train: train, test: held_out}\n", splits))
    return str(folder / "capitals.yaml")


@pytest.mark.parametrize("form", ["file", "folder"])
def test_splits_are_those_that_are_named_or_there_and_others_are_carved(form: str, tmp_path: Path) -> None:
    for number, (given, splits, counts) in enumerate(
        (
            ({"train": 60, "validation": 13, "test": 17}, "", [60, 13, 17]),
            ({"train": 60, "validation": 13}, "", [48, 13, 12]),
            ({"train": 60, "test": 17}, "", [54, 6, 17]),
            ({"train": 60, "dev": 6}, "splits: {train: train, test: dev}\n", [54, 6, 6]),
        )
    ):
        suite, _ = open_suite(None, [write_splits(tmp_path / str(number), form, splits, **given)])
        assert sizes(suite, "capitals") == counts
        lands = [{e.prompt.split("Land ")[1] for e in suite.examples("capitals", split)} for split in SPLITS]
        assert all(not one & other for one, other in itertools.combinations(lands, 2))
        assert suite.lint("capitals").unread == {}


@pytest.mark.parametrize("form", ["file", "folder"])
def test_rows_of_splits_that_nobody_named_are_refused_and_counted_where_some_were_named(
    form: str, tmp_path: Path
) -> None:
    counts = {"train": 30, "dev": 7, "test": 5}
    write_jsonl(tmp_path / "all.jsonl", capitals(0, 40))
    (tmp_path / "capitals.yaml").write_text(YAML.replace("data: rows", "data: all.jsonl"))

    with pytest.raises(ValueError, match="its rows have no column 'split'; leave 'splits' out"):
        open_suite(None, [str(tmp_path / "capitals.yaml")])
    with pytest.raises(ValueError, match=r"dev.*: its rows would be left out.* name the splits to read"):
        open_suite(None, [write_splits(tmp_path, form, **counts)])
    suite, _ = open_suite(None, [write_splits(tmp_path, form, "splits: {train: train}\n", **counts)])

    assert list(suite.lint("capitals").unread.values()) == [7, 5]
    assert sizes(suite, "capitals") == [21, 3, 6]


def test_rows_without_a_cluster_share_none_and_those_with_a_null_in_a_template_are_counted(
    tmp_path: Path,
) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": f"{n}?", "choices": ["a", "b"], "gold": 0, "split": split}
        for n, split in enumerate(["train"] * 6 + ["validation"] * 3 + ["test"] * 4)
    ]
    rows[0]["cluster"] = rows[-1]["cluster"] = "both"
    suite = plain(tmp_path, rows)
    assert suite.lint("mine").shared_clusters == 1
    assert [example.cluster for example in suite.examples("mine", "test")] == ["0", "1", "2", "both"]

    path = write_capitals(tmp_path)
    write_jsonl(tmp_path / "rows" / "train.jsonl", [*capitals(0, 40), {**capitals(50, 1)[0], "b": None}])
    suite, _ = open_suite(None, [path])
    reason = "1 of split train: a column of a template is null (first: row 40)"
    assert suite.lint("capitals").reasons() == [reason]


def test_a_study_finds_task_files_beside_itself_which_may_name_the_kind_of_their_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capitals(tmp_path / "studies")
    study = tmp_path / "studies" / "own.yaml"
    study.write_text(
        "name: own\ntasks: [fact_qa, capitals.yaml]\nseeds: [0]\nsources: [mini-qwen3-xs]\n"
        "targets: [mini-qwen3-xs]\nmethods: {base: {}, lora: {size: 8}}\n"
    )
    monkeypatch.chdir(tmp_path)
    data = load_study(study).runs[0].data
    assert (data.tasks, data.files) == (("fact_qa", "capitals"), {"capitals": "MIT"})

    for kind, kinds in {"": {}, "kind: geography": {"capitals": "geography"}}.items():
        write_capitals(tmp_path / "studies", f"{kind}{YAML}")
        suite, tasks = open_suite("village", ["home_01", path])
        assert suite.kinds_of(tasks) == {"home_01": "home"} | kinds


def test_a_file_of_written_answers_says_what_is_right_and_how_they_are_judged(tmp_path: Path) -> None:
    suite, tasks = open_suite(None, [write_capitals(tmp_path, WRITTEN)])
    example = first(suite, "capitals", "test")
    assert example.choices == (" Town 100",)
    assert example.written == Written(("Town 100", "City 100"))
    assert suite.answers_of(tasks) == {
        "capitals": AnswerConfig(metric="token_f1", stop=("\n",), max_new_tokens=12, pattern="([A-Za-z ]+)")
    }

    # references may be a column, of one or several
    path = write_capitals(tmp_path, WRITTEN.replace('["{answer}", "{a}"]', "answer"))
    rows = [{"land": {"name": f"Land {n}"}, "answer": [f"Town {n}", f"T{n}"]} for n in range(40)]
    write_jsonl(tmp_path / "rows" / "train.jsonl", rows)
    suite, _ = open_suite(None, [path])
    assert first(suite, "capitals", "test").written == Written(("Town 100",))
    written = first(suite, "capitals", "train").written
    assert written is not None
    assert len(written.references) == 2


@pytest.mark.parametrize("column", ["messages", "conversation.turns"])
def test_conversations_are_a_column_of_a_file(tmp_path: Path, column: str) -> None:
    def turns(n: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Land {n}?"}, {"role": "assistant", "content": f"Town {n}"}] * 2

    rows = [{"messages": turns(n), "conversation": {"turns": turns(n)}} for n in range(40)]
    write_jsonl(tmp_path / "rows" / "train.jsonl", rows)
    (tmp_path / "chat.yaml").write_text(f"data: rows\nanswer: text\nmessages: {column}\n")
    suite, (task,) = open_suite(None, [str(tmp_path / "chat.yaml")])

    split_of = {e.cluster: split for split in SPLITS for e in suite.examples(task, split)}
    assert len(split_of) == 40
    for split in SPLITS:
        assert {example.id[-4:] for example in suite.examples(task, split)} == {"-000", "-001"}
        assert all(split_of[e.cluster] == split for e in suite.examples(task, split))
    assert suite.answers_of([task]) == {task: AnswerConfig()}
    assert suite.lint(task).unspaced == 0


def test_plain_rows_of_answers_make_a_task_and_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": f"Land {n}:", "answer": f"Town {n}" if n else ""} for n in range(40)]
    suite = plain(tmp_path, rows)
    assert suite.answers_of(["mine"]) == {"mine": AnswerConfig()}
    assert suite.lint("mine").reasons() == ["1 of split train: empty answer (first: row 0)"]
    assert len({split_hash(suite, "mine", split) for split in SPLITS}) == 3

    for name, remedy in (
        ("own.csv", "own.csv: a task file ends in .yaml, .yml, .jsonl; .* convert it with: python"),
        ("own.parquet", "own.parquet: a task file ends in .* a YAML task file whose `data` is a .parquet"),
        ("none.yaml", "no such task file"),
    ):
        if name != "none.yaml":
            (tmp_path / name).write_text("prompt,gold\nx,0\n")
        with pytest.raises(ValueError, match=remedy):
            open_suite(None, [str(tmp_path / name)])


def test_files_of_programs_are_judged_by_their_tests(tmp_path: Path) -> None:
    row = {"prompt": "def f(x):", "answer": " return x", "tests": "def f(x):{answer}\nassert f(1) == 1"}
    rows = write_jsonl(
        tmp_path / "programs.jsonl", [{**row, "prompt": f"def f(x):  # {n}"} for n in range(12)]
    )
    (tmp_path / "own.yaml").write_text(
        "task: programs\ndata: programs.jsonl\nanswer: text\nprompt: '{prompt}'\n"
        "references: ['{answer}']\ntests: tests\nmetric: pass_at_1\n"
    )
    for path in (rows, tmp_path / "own.yaml"):
        suite, (task,) = open_suite(None, [str(path)])
        example = suite.examples(task, "train")[0]
        assert example.written == Written((row["tests"],))
        assert example.choices == (row["answer"],)
        assert suite.answers_of([task])[task].metric == "pass_at_1"


def test_a_file_that_mixes_up_answers_is_refused(tmp_path: Path) -> None:
    for old, new, reason in (
        ('references: ["{answer}", "{a}"]', "", "references: a task with answer: text needs it"),
        ("answer: text", "", "choices: a task with answer: choice needs it .or write answer: text"),
        ("answer: text", "answer: text\ngold: answer", "gold: a task with answer: text has no place for it"),
        ("metric: token_f1", "metric: token_f1\ntools: x", "tools: a task with answer: text has no place"),
        ('"([A-Za-z ]+)"', '"(["', "no regular expression"),
        ("max_new_tokens: 12", "max_new_tokens: 0", "greater than or equal to 1"),
        ('prompt: "{land.name}:"', "messages: land", "prompt|references"),
    ):
        assert old in WRITTEN
        with pytest.raises(ValueError, match=reason):
            open_suite(None, [write_capitals(tmp_path, WRITTEN.replace(old, new))])
