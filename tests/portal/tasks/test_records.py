"""Rows from a folder, and what a hub that cannot be reached says."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.tasks.records import (
    count_records,
    folder_records,
    hub_records,
    hub_splits,
    read_records,
    split_files,
    stream_records,
)
from tests.support.studies import PATIENCE_S


def test_shards_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    for shard in (1, 0, 2):
        pq.write_table(
            pa.table({"n": [shard * 10, shard * 10 + 1]}), tmp_path / f"train-{shard:05d}-of-00003.parquet"
        )

    assert [record["n"] for record in folder_records(tmp_path, "train")] == [0, 1, 10, 11, 20, 21]
    assert len(split_files(tmp_path, "train")) == 3


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("\n")

    with pytest.raises(ValueError, match=r"train.jsonl: no rows"):
        folder_records(tmp_path, "train")


def test_a_line_that_is_no_json_is_refused_by_file(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"a": 1}\n{"a": \n')

    with pytest.raises(ValueError, match=r"train.jsonl: not readable as jsonl"):
        folder_records(tmp_path, "train")


READERS: dict[str, Callable[[Path], Any]] = {
    "all": read_records,
    "streamed": lambda path: list(stream_records(path)),
    "counted": count_records,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.csv", "convert it with: python -c"),
        ("a.json", "one JSON object per line"),
        ("a", "its rows to one"),
    ],
)
def test_a_file_in_another_format_is_refused_by_its_name_with_a_way_to_convert_it(
    name: str, remedy: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_text("a,b\n1,x\n")

    with pytest.raises(ValueError, match=rf"{name}: rows are read from .parquet and .jsonl files.*{remedy}"):
        read(tmp_path / name)


def test_the_advice_for_a_csv_file_converts_it(tmp_path: Path) -> None:
    path = tmp_path / "it's mine.csv"
    path.write_text("question,gold\nWhy?,1\n")

    with pytest.raises(ValueError, match="convert it with") as caught:
        read_records(path)
    command = shlex.split(str(caught.value).partition("convert it with: ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=PATIENCE_S)

    assert command[0] == "python"
    assert read_records(path.with_suffix(".parquet")) == [{"question": "Why?", "gold": 1}]


def test_rows_are_counted_without_reading_a_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2, 3]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n\n{"n": 2}\n')
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")

    assert [count_records(tmp_path / name) for name in ("a.parquet", "a.jsonl")] == [3, 2]
    with pytest.raises(ValueError, match=r"torn.parquet: not readable as parquet"):
        count_records(tmp_path / "torn.parquet")


def test_a_folder_with_a_split_in_another_format_is_refused_by_that_file(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl.gz").write_bytes(b"")

    with pytest.raises(ValueError, match=r"train.jsonl.gz: rows are read from .* not from .gz files"):
        folder_records(tmp_path, "train")


def test_a_hub_that_does_not_answer_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(
        "huggingface_hub.HfApi.dataset_info", lambda self, repo, **_: asked.append(repo), raising=True
    )

    with pytest.raises(ValueError, match="OfflineModeIsEnabled"):
        hub_records("nobody/nothing", None, "0" * 40, "train")

    assert asked == []
    assert datasets.config.HF_HUB_OFFLINE is False


def test_a_data_set_that_cannot_be_fetched_says_what_would_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)

    with pytest.raises(ValueError, match=r"data set 'nobody/nothing'.*--data or PORTAL_DATA") as error:
        hub_records("nobody/nothing", None, "0" * 40, "train")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"data set 'nobody/nothing'.*--data or PORTAL_DATA"):
        hub_splits("nobody/nothing", None, "0" * 40)
