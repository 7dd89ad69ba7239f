"""Records: rows of a data set as their publisher lays them out, from a folder or from the hub.

A folder holds `TASK/SPLIT.parquet`, `TASK/SPLIT.jsonl` or shards `TASK/SPLIT-*.parquet`, in the hub's schema.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portal.config import one_line

Record = dict[str, Any]
_BATCH_ROWS = 1024


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in a task's folder, in order; empty when it is not there."""
    for name in (f"{split}.parquet", f"{split}.jsonl"):
        if (folder / name).is_file():
            return [folder / name]
    return sorted(folder.glob(f"{split}-*.parquet"))


def read_records(path: Path) -> list[Record]:
    """All rows of a Parquet or JSONL file; ValueError when it cannot be read as what its name says."""
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        lines = path.read_text(encoding="utf-8").split("\n")  # JSON text may hold other line separators
        records = [_parsed(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix[1:]} ({error})") from None
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}, row {index}: not an object with named columns")
    return records


def stream_records(path: Path) -> Iterator[Record]:
    """The rows of a Parquet or JSONL file, some at a time; ValueError like `read_records`."""
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    yield from batch.to_pylist()
            return
        with path.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    record = _parsed(number, line)
                    if not isinstance(record, dict):
                        raise ValueError(f"line {number}: not an object with named columns")
                    yield record
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix[1:]} ({error})") from None


def _parsed(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from None


def folder_records(folder: Path, split: str) -> list[Record]:
    """The rows of a split in a task's folder; ValueError when there is no file for it or no row in it."""
    files = split_files(folder, split)
    if not files:
        raise ValueError(f"{folder}: no {split}.parquet, {split}-*.parquet or {split}.jsonl")
    records = [record for path in files for record in read_records(path)]
    if not records:
        raise ValueError(f"{files[0]}: no rows")
    return records


def column_of(record: Record, name: str) -> Any:
    """The value of a column; `outer.inner` is a field of a nested one. KeyError(name) when it is absent."""
    value: Any = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise KeyError(name)
        value = value[part]
    return value


def hub_records(repo: str, config: str | None, revision: str | None, split: str) -> list[Record]:
    """The rows of a split of a hub data set at a pinned revision; no code of the repository is run.

    ValueError, saying what would do, when the hub cannot be reached, the repository is gated or absent, or
    there is no such split.
    """
    import datasets
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    datasets.disable_progress_bars()
    where = f"data set {repo!r}" + (f" ({config})" if config else "")
    try:
        rows = datasets.load_dataset(repo, config, split=split, revision=revision)
    except GatedRepoError:
        raise ValueError(f"{where} is gated: accept its terms on the hub, then set HF_TOKEN") from None
    except (RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
        if "gated" in str(error):
            raise ValueError(f"{where} is gated: accept its terms on the hub, then set HF_TOKEN") from None
        hint = "" if os.environ.get("HF_TOKEN") else "; if it is private or gated, set HF_TOKEN"
        raise ValueError(f"{where}: not found on the hub ({one_line(error, most=300)}){hint}") from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"{where}, split {split!r}: cannot be read ({one_line(error, most=300)}); "
            "without the hub, name a folder of its rows with --data or PORTAL_DATA"
        ) from None
    return rows.to_list()
