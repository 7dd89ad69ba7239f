"""Where the rows of a task file are: in one file, in a folder with files per split, or on the hub."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from portal.tasks.builder import HubSource
from portal.tasks.records import (
    ROW_SUFFIXES,
    Record,
    count_records,
    folder_records,
    hub_records,
    hub_splits,
    read_records,
    refuse_other_formats,
    split_files,
)


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
        records = read_records(self.path)
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
class HubRows:
    """A data set on the hub."""

    hub: HubSource

    def read(self, split: str) -> list[Record]:
        """Rows of the split, which may be an expression such as `train[:80%]`."""
        return hub_records(self.hub.repo, self.hub.config, self.hub.revision, split)

    def has(self, split: str) -> bool:
        return split in self._counts

    def unread(self, used: Collection[str]) -> dict[str, int]:
        named = {part.partition("[")[0].strip() for split in used for part in split.split("+")}
        return {
            f"split {split!r} of {self.hub.repo}": count
            for split, count in sorted(self._counts.items())
            if split not in named
        }

    @cached_property
    def _counts(self) -> dict[str, int]:
        return hub_splits(self.hub.repo, self.hub.config, self.hub.revision)


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
