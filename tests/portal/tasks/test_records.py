"""Rows by split from a file, a folder and the hub: none are left out unseen, faults are told by file."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.tasks.records import (
    FileRows,
    FolderRows,
    HubSource,
    Record,
    RowSource,
    count_records,
    folder_records,
    split_files,
    stream_records,
)
from tests.support.studies import PATIENCE_S

COUNTS = {"train": 5, "validation": 3, "dev": 2}


def write(path: Path, rows: list[Record]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_shards_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    for shard in (1, 0, 2):
        table = pa.table({"n": [shard * 10, shard * 10 + 1]})
        pq.write_table(table, tmp_path / f"train-{shard:05d}-of-00003.parquet")

    assert [record["n"] for record in folder_records(tmp_path, "train")] == [0, 1, 10, 11, 20, 21]
    assert len(split_files(tmp_path, "train")) == 3


def test_a_folder_whose_rows_cannot_be_read_is_refused_by_the_file(tmp_path: Path) -> None:
    for number, (name, content, message) in enumerate(
        (
            ("train.jsonl", "\n", r"train.jsonl: no rows"),
            ("train.jsonl", '{"a": 1}\n{"a": \n', r"train.jsonl: not readable as jsonl \(line 2, column"),
            ("train.jsonl", "[]", r"train.jsonl: not readable as jsonl \(line 1: not an object"),
            ("train.jsonl.gz", "", r"train.jsonl.gz: rows are read from .* not from .gz files"),
        )
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / name).write_text(content)
        with pytest.raises(ValueError, match=message):
            folder_records(tmp_path / str(number), "train")


def test_a_file_in_another_format_is_refused_by_its_name_with_a_way_to_convert_it(tmp_path: Path) -> None:
    path = tmp_path / "it's mine.csv"
    for name, remedy in (
        (path.name, "convert it with: (.+)"),
        ("a.json", "(one JSON object per line)"),
        ("a", "(its rows to one)"),
    ):
        (tmp_path / name).write_text("question,gold\nWhy?,1\n")
        for read in (count_records, lambda path: list(stream_records(path))):
            with pytest.raises(ValueError, match=f"{name}: rows are read from .parquet and .jsonl") as caught:
                read(tmp_path / name)
            advice = re.search(remedy, str(caught.value))
            assert advice is not None
            if name == path.name:
                command = shlex.split(advice[1])
    assert command[0] == "python"
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=PATIENCE_S)
    assert list(stream_records(path.with_suffix(".parquet"))) == [{"question": "Why?", "gold": 1}]


def test_rows_are_counted_without_reading_a_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n')
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")

    assert [count_records(tmp_path / name) for name in ("a.parquet", "a.jsonl")] == [3, 2]
    with pytest.raises(ValueError, match=r"torn.parquet: not readable as parquet"):
        count_records(tmp_path / "torn.parquet")


def test_a_hub_that_does_not_answer_is_not_asked_again_and_the_error_says_what_would_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    asked: list[str] = []
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, repo, **_: asked.append(repo))
    source = HubSource("nobody/nothing", None, "0" * 40)

    with pytest.raises(ValueError, match="OfflineModeIsEnabled"):
        source.read("train")

    assert asked == []
    assert datasets.config.HF_HUB_OFFLINE is False
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for ask in (source.has, source.read):
        with pytest.raises(ValueError, match=r"data set 'nobody/nothing'.*--data or PORTAL_DATA") as error:
            ask("train")
        assert "\n" not in str(error.value)


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
    text = f"---\nconfigs:\n- config_name: a\n  data_files:\n{entries}---\n"
    (tmp_path / "rows" / "README.md").write_text(text)
    return HubSource(str(tmp_path / "rows"), "a", None)


def test_every_source_has_the_same_rows_by_split_and_counts_those_left_out(source: RowSource) -> None:
    assert {split: len(source.read(split)) for split in COUNTS} == COUNTS
    assert {row["split"] for row in source.read("dev")} == {"dev"}
    assert [source.has(split) for split in (*COUNTS, "test")] == [True, True, True, False]
    dev, validation = source.unread(("train", "test")).items()
    assert ("dev" in dev[0], dev[1], "validation" in validation[0], validation[1]) == (True, 2, True, 3)
    assert source.unread(COUNTS) == {}


def test_a_part_of_a_split_of_the_hub_counts_as_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    for split in ("train", "validation", "test"):
        write(tmp_path / "rows" / f"{split}.jsonl", [{"n": n} for n in range(10)])
    hub = HubSource(str(tmp_path / "rows"), None, None)

    assert len(hub.read("train[:80%]+validation")) == 18
    unread = hub.unread(("train[:80%]+validation", "train[80%:]"))
    assert unread == {f"split 'test' of {tmp_path / 'rows'}": 10}


def test_rows_of_one_file_name_all_their_splits_or_none(tmp_path: Path) -> None:
    source = FileRows(write(tmp_path / "all.jsonl", [{"n": n, "split": None} for n in range(4)]))
    assert len(source.read("train")) == 4
    assert source.unread(()) == {}
    assert not source.has("train")

    faults: list[tuple[list[Record], str]] = [
        ([], "all.jsonl: no rows"),
        ([{"split": "train"}, {"n": 1}], "some rows name a split and some do not"),
        ([{"split": 1}], "a split must be text, got 1"),
    ]
    for rows, message in faults:
        with pytest.raises(ValueError, match=message):
            FileRows(write(tmp_path / "all.jsonl", rows)).read("train")


def test_what_a_folder_has_beside_its_splits_is_counted_or_refused(tmp_path: Path) -> None:
    for shard in range(2):
        pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / f"dev-{shard:05d}-of-00002.parquet")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "train.parquet")
    write(tmp_path / "train.jsonl", [{"n": 1}, {"n": 2}])
    (tmp_path / "README.md").write_text("no rows")
    (tmp_path / "test.csv").write_text("n\n1\n")

    unread = {str(tmp_path / "dev-*.parquet"): 6, str(tmp_path / "train.jsonl"): 2}
    assert FolderRows(tmp_path).unread(("train",)) == unread
    with pytest.raises(ValueError, match=r"test.csv: rows are read from .* files, not from .csv"):
        FolderRows(tmp_path).has("test")
