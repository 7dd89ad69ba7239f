"""Rows from a folder, and what a hub that cannot be reached says."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.tasks.records import folder_records, hub_records, split_files


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


def test_a_data_set_that_cannot_be_fetched_says_what_would_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)

    with pytest.raises(ValueError, match=r"data set 'nobody/nothing'.*--data or PORTAL_DATA") as error:
        hub_records("nobody/nothing", None, "0" * 40, "train")
    assert "\n" not in str(error.value)
