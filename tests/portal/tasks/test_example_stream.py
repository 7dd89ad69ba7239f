"""A large split of finished prompts is streamed: the same examples and mistakes as when it is read."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.data.suite import split_hash, split_manifest
from portal.data.suites import load_suite
from portal.tasks import prompt_folder
from portal.tasks.example_stream import ExampleFile
from sweeps.launch.tokenize import example_tables


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"row-{index * 7 % count}",
            "prompt": f"What is {index}?",
            "choices": [" odd", " even"],
            "gold": index % 2,
        }
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
    assert (len(found), bool(found), found[3], found[-1], found[2:9:3]) == (
        20,
        True,
        read[3],
        read[-1],
        read[2:9:3],
    )
    with pytest.raises(IndexError):
        found[20]
    assert split_manifest(suite, ["task"])["task"]["train"]["rows"] == 20
    assert [table.num_rows for table in example_tables(suite, ["task"], size=8)] == [8, 8, 8, 2]


def test_the_hash_of_a_streamed_split_is_of_its_examples_in_any_order(tmp_path: Path, streamed: None) -> None:
    one = load_suite(str(write(tmp_path / "a", "jsonl", rows(9))))
    turned = load_suite(str(write(tmp_path / "b", "jsonl", rows(9)[::-1])))
    other = load_suite(str(write(tmp_path / "c", "jsonl", [*rows(9)[:8], {**rows(9)[8], "prompt": "And?"}])))

    hashes = [split_hash(suite, "task", "train") for suite in (one, turned, other)]

    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gold": 5}, "gold index 5 is outside"),
        ({"prompt": 1}, "row 4: 'prompt' must be a str, got 1"),
        ({"id": "row-0"}, "two rows have the same id"),
    ],
)
def test_a_mistake_in_a_streamed_row_is_told_before_anything_runs(
    change: dict[str, object], message: str, tmp_path: Path, streamed: None
) -> None:
    records = rows(9)
    records[4] |= change
    folder = str(write(tmp_path, "jsonl", records))

    with pytest.raises(ValueError, match=message):
        load_suite(folder).examples("task", "train")


def test_a_line_that_is_no_json_is_told_with_its_number(tmp_path: Path, streamed: None) -> None:
    folder = write(tmp_path, "jsonl", rows(9))
    with (folder / "task" / "train.jsonl").open("a") as file:
        file.write('{"id": \n')

    with pytest.raises(ValueError, match="line 11, column"):
        load_suite(str(folder)).examples("task", "train")
