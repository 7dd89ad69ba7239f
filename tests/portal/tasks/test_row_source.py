"""Rows by split from one file, from a folder and from a data set of the hub; none are left out unseen."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.tasks.builder import HubSource
from portal.tasks.records import Record
from portal.tasks.row_source import FileRows, FolderRows, HubRows, RowSource

COUNTS = {"train": 5, "validation": 3, "dev": 2}


@pytest.fixture(params=["file", "folder", "hub"])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowSource:
    """Five rows of train, three of validation and two of dev."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = {split: [{"n": n, "split": split} for n in range(count)] for split, count in COUNTS.items()}
    if request.param == "file":
        return FileRows(write(tmp_path / "all.jsonl", [row for each in rows.values() for row in each]))
    for split, each in rows.items():
        write(tmp_path / "rows" / f"{split}.jsonl", each)
    if request.param == "folder":
        return FolderRows(tmp_path / "rows")
    entries = "".join(f"  - {{split: {split}, path: {split}.jsonl}}\n" for split in COUNTS)
    (tmp_path / "rows" / "README.md").write_text(
        f"---\nconfigs:\n- config_name: a\n  data_files:\n{entries}---\n"
    )
    return HubRows(HubSource(str(tmp_path / "rows"), "a", None))


def write(path: Path, rows: list[Record]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_source_has_the_same_rows_by_split(source: RowSource) -> None:
    assert {split: len(source.read(split)) for split in COUNTS} == COUNTS
    assert {row["split"] for row in source.read("dev")} == {"dev"}
    assert [source.has(split) for split in (*COUNTS, "test")] == [True, True, True, False]


def test_every_source_counts_the_rows_that_are_left_out(source: RowSource) -> None:
    unread = source.unread(("train", "test"))

    assert list(unread.values()) == [2, 3]
    assert [name in place for place, name in zip(unread, ("dev", "validation"), strict=True)] == [True, True]
    assert source.unread(COUNTS) == {}


def test_a_part_of_a_split_of_the_hub_counts_as_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for split in ("train", "validation", "test"):
        write(tmp_path / "rows" / f"{split}.jsonl", [{"n": n} for n in range(10)])
    hub = HubRows(HubSource(str(tmp_path / "rows"), None, None))

    assert len(hub.read("train[:80%]+validation")) == 18
    assert hub.unread(("train[:80%]+validation", "train[80%:]")) == {
        f"split 'test' of {tmp_path / 'rows'}": 10
    }


def test_rows_of_one_file_without_splits_are_all_of_one_split(tmp_path: Path) -> None:
    source = FileRows(write(tmp_path / "all.jsonl", [{"n": n, "split": None} for n in range(4)]))

    assert len(source.read("train")) == 4
    assert source.unread(()) == {}
    assert not source.has("train")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "all.jsonl: no rows"),
        ([{"split": "train"}, {"n": 1}], "some rows name a split and some do not"),
        ([{"split": 1}], "a split must be text, got 1"),
    ],
)
def test_a_file_that_is_no_set_of_rows_is_refused(rows: list[Record], message: str, tmp_path: Path) -> None:
    source = FileRows(write(tmp_path / "all.jsonl", rows))

    with pytest.raises(ValueError, match=message):
        source.read("train")


def test_shards_and_a_second_file_of_a_split_are_counted_as_unread(tmp_path: Path) -> None:
    for shard in range(2):
        pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / f"dev-{shard:05d}-of-00002.parquet")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "train.parquet")
    write(tmp_path / "train.jsonl", [{"n": 1}, {"n": 2}])
    (tmp_path / "README.md").write_text("no rows")

    assert FolderRows(tmp_path).unread(("train",)) == {
        str(tmp_path / "dev-*.parquet"): 6,
        str(tmp_path / "train.jsonl"): 2,
    }


def test_a_split_in_a_format_that_is_not_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"n": 1}])
    (tmp_path / "test.csv").write_text("n\n1\n")

    with pytest.raises(
        ValueError, match=r"test.csv: rows are read from .parquet and .jsonl files, not from .csv"
    ):
        FolderRows(tmp_path).has("test")
