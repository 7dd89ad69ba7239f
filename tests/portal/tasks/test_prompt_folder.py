"""Folders of finished prompts: written answers, and large splits, which are streamed."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.answers import AnswerConfig
from portal.data.suites import load_suite, split_hash, split_manifest
from portal.tasks import prompt_folder
from portal.tasks.example import SPLITS, Written
from portal.tasks.prompt_folder import ExampleFile
from sweeps.launch.tokenize import example_tables
from tests.support.task_files import write_jsonl


def test_a_folder_of_prompts_may_have_written_answers(tmp_path: Path) -> None:
    for split in SPLITS:
        rows = [{"prompt": f"{split} {n}:", "answers": [f"Town {n}", "gone"]} for n in range(4)]
        write_jsonl(tmp_path / "towns" / f"{split}.jsonl", rows)
        choices = [{"prompt": f"{split} {n}:", "choices": [" a", " b"], "gold": 0} for n in range(4)]
        write_jsonl(tmp_path / "pick" / f"{split}.jsonl", choices)
    suite = load_suite(str(tmp_path))
    assert suite.answers_of(suite.tasks) == {"towns": AnswerConfig()}
    assert suite.examples("towns", "test")[0].written == Written(("Town 0", "gone"))
    assert suite.examples("pick", "test")[0].written is None

    (tmp_path / "answers.yaml").write_text("towns: {metric: contains, max_new_tokens: 5}\n")
    assert suite.answers_of(["towns"]) == {"towns": AnswerConfig(metric="contains", max_new_tokens=5)}
    for settings, message in (
        ("town: {metric: contains}", "the folder has no task 'town'; did you mean 'towns'"),
        ("towns: {metrics: contains}", "did you mean 'metric'"),
    ):
        (tmp_path / "answers.yaml").write_text(settings)
        with pytest.raises(ValueError, match=message):
            suite.answers_of(["towns"])
    write_jsonl(tmp_path / "towns" / "test.jsonl", [{"prompt": "x", "answer": " "}])
    with pytest.raises(ValueError, match=r"test.jsonl, row 0: task 'towns', example '0000000': empty answer"):
        load_suite(str(tmp_path)).examples("towns", "test")


def rows(count: int) -> list[dict[str, object]]:
    row = {"choices": [" odd", " even"]}
    return [
        row | {"id": f"row-{index * 7 % count}", "prompt": f"What is {index}?", "gold": index % 2}
        for index in range(count)
    ]


def write(folder: Path, kind: str, records: list[dict[str, object]]) -> Path:
    (folder / "task").mkdir(parents=True)
    for split, own in {"train": records, "validation": records[:3], "test": records[:3]}.items():
        if kind == "jsonl":
            (folder / "task" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, own)) + "\n\n")
        else:
            half = len(own) // 2
            for number, part in enumerate((own[:half], own[half:])):
                pq.write_table(pa.Table.from_pylist(part), folder / "task" / f"{split}-{number}.parquet")
    return folder


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large."""
    monkeypatch.setattr(prompt_folder, "STREAM_BYTES", 0)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_streamed_split_is_the_one_that_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write(tmp_path, kind, rows(20)))
    read = load_suite(folder).examples("task", "train")
    monkeypatch.setattr(prompt_folder, "STREAM_BYTES", 0)
    suite = load_suite(folder)
    found = suite.examples("task", "train")

    assert isinstance(found, ExampleFile)
    assert not isinstance(read, ExampleFile)
    assert [*found] == [*found] == [*read]
    assert (len(found), bool(found)) == (20, True)
    assert (found[3], found[-1], found[2:9:3]) == (read[3], read[-1], read[2:9:3])
    with pytest.raises(IndexError):
        found[20]
    assert split_manifest(suite, ["task"])["task"]["train"]["rows"] == 20
    assert [table.num_rows for table in example_tables(suite, ["task"], size=8)] == [8, 8, 8, 2]


@pytest.mark.usefixtures("streamed")
def test_the_hash_of_a_streamed_split_is_of_its_examples_in_any_order(tmp_path: Path) -> None:
    changed = [*rows(9)[:8], {**rows(9)[8], "prompt": "And?"}]
    one, turned, other = (
        split_hash(load_suite(str(write(tmp_path / name, "jsonl", own))), "task", "train")
        for name, own in {"a": rows(9), "b": rows(9)[::-1], "c": changed}.items()
    )

    assert one == turned != other


@pytest.mark.usefixtures("streamed")
def test_a_mistake_in_a_streamed_row_is_told_before_anything_runs(tmp_path: Path) -> None:
    changes: list[tuple[dict[str, object], str]] = [
        ({"gold": 5}, "gold index 5 is outside"),
        ({"prompt": 1}, "row 4: 'prompt' must be a str, got 1"),
        ({"id": "row-0"}, "two rows have the same id"),
        ({}, "line 11, column"),
    ]
    for number, (change, message) in enumerate(changes):
        records = rows(9)
        records[4] |= change
        folder = write(tmp_path / str(number), "jsonl", records)
        if not change:
            with (folder / "task" / "train.jsonl").open("a") as file:
                file.write('{"id": \n')
        with pytest.raises(ValueError, match=message):
            load_suite(str(folder)).examples("task", "train")
