"""Records: rows of a data set as their publisher lays them out, from a file, a folder or the hub.

A folder holds `TASK/SPLIT.parquet`, `TASK/SPLIT.jsonl` or shards `TASK/SPLIT-*.parquet`, in the hub's schema.
"""

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from portal.messages import one_line
from portal.storage.hub import hub_answers

Record = dict[str, Any]
ROW_SUFFIXES = (".parquet", ".jsonl")
OTHER_SUFFIXES = (".csv", ".tsv", ".json", ".arrow", ".feather")
"""Formats of rows that are not read: a user who names such a file is told how to convert it."""
_BATCH_ROWS = 1024


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of a split in a task's folder, in order; empty when it is not there."""
    for name in (f"{split}.parquet", f"{split}.jsonl"):
        if (folder / name).is_file():
            return [folder / name]
    return sorted(folder.glob(f"{split}-*.parquet"))


def stream_records(path: Path) -> Iterator[Record]:
    """Read the rows of a Parquet or JSONL file some at a time; ValueError for one in another format."""
    check_suffix(path)
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    yield from batch.to_pylist()
            return
        with path.open(encoding="utf-8", newline="\n") as lines:  # JSON text may hold other line separators
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parsed(number, line)
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix[1:]} ({error})") from None


def _parsed(number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from None
    if not isinstance(record, dict):
        raise ValueError(f"line {number}: not an object with named columns")
    return record


def count_records(path: Path) -> int:
    """Count the rows of a Parquet or JSONL file; ValueError like `stream_records`."""
    if path.suffix != ".parquet":
        return sum(1 for _ in stream_records(path))
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: not readable as parquet ({error})") from None


def check_suffix(path: Path) -> None:
    """ValueError, with a way to convert the file, unless its name says that it is Parquet or JSONL."""
    if path.suffix not in ROW_SUFFIXES:
        named = f"{path.suffix} files" if path.suffix else "files without a suffix"
        raise ValueError(
            f"{path}: rows are read from .parquet and .jsonl files, not from {named}; {how_to_convert(path)}"
        )


def refuse_other_formats(folder: Path, split: str) -> None:
    """ValueError when the folder has the rows of a split in a format that is not read."""
    for path in sorted(folder.glob(f"{split}.*")):
        if path.suffix not in ROW_SUFFIXES and {*path.suffixes} & {*ROW_SUFFIXES, *OTHER_SUFFIXES}:
            check_suffix(path)


def how_to_convert(path: Path) -> str:
    """Advice for a file of rows in another format."""
    if path.suffix == ".csv":
        target = path.with_suffix(".parquet")
        read, write = json.dumps(str(path)), json.dumps(str(target))
        code = f"from pyarrow import csv, parquet; parquet.write_table(csv.read_csv({read}), {write})"
        return f"convert it with: python -c {shlex.quote(code)}"
    if path.suffix == ".json":
        return "write one JSON object per line into a .jsonl file, or rename it if it is so already"
    return "write its rows to one of them"


def folder_records(folder: Path, split: str) -> list[Record]:
    """The rows of a split in a task's folder; ValueError when there is no file for it or no row in it."""
    files = split_files(folder, split)
    if not files:
        refuse_other_formats(folder, split)
        raise ValueError(f"{folder}: no {split}.parquet, {split}-*.parquet or {split}.jsonl")
    records = [record for path in files for record in stream_records(path)]
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


class RowsNotAtHandError(ValueError):
    """A hub data set that could not be read: it is neither on this machine nor within reach."""


class RowSource(Protocol):
    """Rows by the publisher's splits."""

    def read(self, split: str) -> list[Record]:
        """The rows of a split."""

    def has(self, split: str) -> bool:
        """Whether some rows are marked as this split's."""

    def unread(self, used: Collection[str]) -> dict[str, int]:
        """How many rows the splits `used` leave out, by the split or file that holds them."""


@dataclass(frozen=True)
class FileRows:
    """One file: its rows name their split in a column `split`, or are all of one split."""

    path: Path

    def read(self, split: str) -> list[Record]:
        """Rows of that split, or all rows where none names a split; ValueError for a file without rows."""
        return [record for record in self._records if not self.names or record["split"] == split]

    def has(self, split: str) -> bool:
        return split in self.names

    def unread(self, used: Collection[str]) -> dict[str, int]:
        counts = Counter(record.get("split") for record in self._records)
        return {f"split {split!r} of {self.path}": counts[split] for split in sorted(self.names - set(used))}

    @cached_property
    def columns(self) -> frozenset[str]:
        """Every column that some row has."""
        return frozenset(name for record in self._records for name in record)

    @cached_property
    def names(self) -> set[str]:
        """The splits that rows name; empty where none does. ValueError when only some rows name one."""
        values = [record["split"] for record in self._records if record.get("split") is not None]
        if values and len(values) < len(self._records):
            raise ValueError(f"{self.path}: some rows name a split and some do not")
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"{self.path}: a split must be text, got {value!r}")
        return set(values)

    @cached_property
    def _records(self) -> list[Record]:
        records = list(stream_records(self.path))
        if not records:
            raise ValueError(f"{self.path}: no rows")
        return records


@dataclass(frozen=True)
class FolderRows:
    """A folder of SPLIT.parquet, SPLIT-*.parquet or SPLIT.jsonl."""

    folder: Path

    def read(self, split: str) -> list[Record]:
        """Rows of the split's files; ValueError when there is none."""
        return folder_records(self.folder, split)

    def has(self, split: str) -> bool:
        if split_files(self.folder, split):
            return True
        refuse_other_formats(self.folder, split)
        return False

    def unread(self, used: Collection[str]) -> dict[str, int]:
        return unread_files(self.folder, used)


@dataclass(frozen=True)
class HubSource:
    """A data set on the hub. `revision` is a commit; None only where a user named none."""

    repo: str
    config: str | None
    revision: str | None

    def read(self, split: str) -> list[Record]:
        """Rows of the split, which may be an expression such as `train[:80%]`; none of its code is run.

        ValueError, with a remedy, when the hub cannot be reached, the repository is gated or absent, or there
        is no such split.
        """
        import datasets

        with self._errors(f", split {split!r}"):
            rows = datasets.load_dataset(self.repo, self.config, split=split, revision=self.revision)
            return rows.to_list()

    def has(self, split: str) -> bool:
        return split in self._counts

    def unread(self, used: Collection[str]) -> dict[str, int]:
        named = {part.partition("[")[0].strip() for split in used for part in split.split("+")}
        return {
            f"split {split!r} of {self.repo}": count
            for split, count in sorted(self._counts.items())
            if split not in named
        }

    @cached_property
    def _counts(self) -> dict[str, int]:
        """Rows by split. It fetches no more than `read` does: the library always prepares all splits."""
        import datasets

        with self._errors(""):
            splits = datasets.load_dataset(self.repo, self.config, revision=self.revision)
            return {str(name): len(rows) for name, rows in splits.items()}

    @contextmanager
    def _errors(self, split: str) -> Iterator[None]:
        """Turn the errors of `datasets` into ValueErrors of one line with a remedy."""
        import datasets
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        datasets.disable_progress_bars()
        where = f"data set {self.repo!r}" + (f" ({self.config})" if self.config else "")
        switched_off = datasets.config.HF_HUB_OFFLINE
        # a hub that does not answer would be asked for half a minute
        datasets.config.HF_HUB_OFFLINE = switched_off or not hub_answers()
        try:
            yield
        except (RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError) as error:
            if isinstance(error, GatedRepoError) or "gated" in str(error):
                raise ValueError(
                    f"{where} is gated: accept its terms on the hub, then set HF_TOKEN"
                ) from None
            hint = "" if os.environ.get("HF_TOKEN") else "; if it is private or gated, set HF_TOKEN"
            raise ValueError(f"{where}: not found on the hub ({one_line(error, most=300)}){hint}") from None
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise RowsNotAtHandError(
                f"{where}{split}: cannot be read ({one_line(error, most=300)}); "
                "without the hub, name a folder of its rows with --data or PORTAL_DATA"
            ) from None
        finally:
            datasets.config.HF_HUB_OFFLINE = switched_off


def unread_files(folder: Path, used: Collection[str]) -> dict[str, int]:
    """How many rows the folder holds beside those of the splits `used`, by file; shards count as one file."""
    if not folder.is_dir():
        return {}
    read = {path for split in used for path in split_files(folder, split)}
    counts: dict[str, int] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in ROW_SUFFIXES and path.is_file() and path not in read:
            place = str(path.with_name(re.sub(r"-\d+(-of-\d+)?$", "-*", path.stem) + path.suffix))
            counts[place] = counts.get(place, 0) + count_records(path)
    return counts
