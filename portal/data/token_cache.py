"""The token cache: rows in sharded Parquet under a manifest of digests, written once and read by every run.

Small caches are read into memory. Large ones are decoded once a node into an Arrow file that all its
processes map, and only the rows that are asked for become Python objects.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portal.data.token_rows import ROW_SCHEMA, Extent, RowTable, TokenRow, table_to_rows
from portal.storage.atomic import only_one, write_bytes_atomic, write_json_atomic
from portal.storage.parquet import decode_table, encode_table
from portal.storage.paths import Folder, cache_folder, file_sha256

CACHE_FORMAT = 4
"""Part of a cache's identity: caches of another form are made anew."""
SHARD_ROWS = 50_000
LARGE_ROWS = 100_000
"""Caches of more rows are mapped, not read; splits of more rows stay in Arrow."""
Places = np.ndarray[Any, np.dtype[np.int64]]
_MANIFEST = "manifest.json"
_ORDER = [("task", "ascending"), ("split", "ascending"), ("id", "ascending")]


class MappedRows(Sequence[TokenRow]):
    """Some rows of Arrow batches, in the order of `places`; each becomes a TokenRow when it is asked for.

    `places` count through all batches. A take copies the rows that it asks for and nothing else.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], places: Places) -> None:
        self._batches, self._places = batches, places
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> TokenRow: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[TokenRow, ...]: ...
    def __getitem__(self, place: int | slice) -> TokenRow | tuple[TokenRow, ...]:
        if isinstance(place, slice):
            return self.take(range(len(self))[place])
        return self.take([place])[0]

    @cached_property
    def task(self) -> str:
        """The task that all of the rows belong to."""
        return self[0].task

    def take(self, order: Sequence[int] | Places) -> tuple[TokenRow, ...]:
        """The rows at these places."""
        wanted = self._places[np.asarray(order, dtype=np.int64)]
        owner = np.searchsorted(self._starts, wanted, side="right") - 1
        rows: list[TokenRow | None] = [None] * len(wanted)
        for number in np.unique(owner):
            own = np.flatnonzero(owner == number)
            part = self._batches[number].take(pa.array(wanted[own] - self._starts[number]))
            for index, row in zip(own, table_to_rows(part), strict=True):
                rows[index] = row
        return tuple(row for row in rows if row is not None)

    def view(self, order: Sequence[int] | Places) -> "MappedRows":
        """The rows at these places, still in Arrow."""
        return MappedRows(self._batches, self._places[np.asarray(order, dtype=np.int64)])


class MappedRowTable(RowTable):
    """A RowTable over an Arrow table: splits of up to `LARGE_ROWS` rows are read when first asked for."""

    extent: Extent

    def __init__(self, table: pa.Table, extent: Extent) -> None:
        super().__init__(())
        self._rows, self.extent = _MappedSplits(table), extent


class _MappedSplits(Mapping[tuple[str, str], Sequence[TokenRow]]):
    """Rows of an Arrow table by task and split."""

    def __init__(self, table: pa.Table) -> None:
        self._batches, self._places = table.to_batches(), _places_in(table)
        self._read: dict[tuple[str, str], Sequence[TokenRow]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __getitem__(self, key: tuple[str, str]) -> Sequence[TokenRow]:
        if key not in self._read:
            rows = MappedRows(self._batches, self._places[key])
            self._read[key] = rows if len(rows) > LARGE_ROWS else rows[:]
        return self._read[key]


def _places_in(table: pa.Table) -> dict[tuple[str, str], Places]:
    """By task and split the places of its rows, in the order of their ids."""
    order = pc.sort_indices(table.select(["task", "split", "id"]), sort_keys=_ORDER).to_numpy()
    counts = table.group_by(["task", "split"]).aggregate([("id", "count")]).sort_by(_ORDER[:2])
    places, start = {}, 0
    for group in counts.to_pylist():
        places[group["task"], group["split"]] = order[start : start + group["id_count"]].astype(np.int64)
        start += group["id_count"]
    return places


def write_cache(
    folder: Folder,
    tables: Iterable[pa.Table],
    *,
    identity: dict[str, Any],
    splits: dict[str, Any] | None = None,
) -> None:
    """Write tables of `ROW_SCHEMA` as Parquet shards below `folder`, each sorted; the manifest comes last.

    `splits` (rows and hash of every task's split) is for readers of the manifest. One table at a time is in
    memory. There may be no rows at all: those of a task that is only described.
    """
    shards: list[dict[str, Any]] = []
    max_token = longest = longest_choice = num_truncated = 0
    for number, table in enumerate(tables):
        data, name = encode_table(table.sort_by(_ORDER)), f"rows-{number:05d}.parquet"
        write_bytes_atomic(folder / name, data)
        shards.append({"name": name, "num_rows": table.num_rows, "sha256": hashlib.sha256(data).hexdigest()})
        extent = _extent_of(table)
        max_token, longest = max(max_token, extent.max_token), max(longest, extent.longest)
        longest_choice = max(longest_choice, extent.longest_choice or 0)
        num_truncated += pc.sum(pc.greater(table["truncated"], 0)).as_py()
    manifest = {
        "identity": identity,
        "splits": splits,
        "num_rows": sum(shard["num_rows"] for shard in shards),
        "num_truncated": num_truncated,
        "max_token": max_token,
        "longest": longest,
        "longest_choice": longest_choice,
        "shards": shards,
    }
    write_json_atomic(folder / _MANIFEST, {**manifest, "manifest_sha256": _digest_of(manifest)})


def read_cache(folder: Folder) -> RowTable:
    """The rows written by `write_cache`; ValueError when the cache is missing, incomplete or altered."""
    manifest = _manifest_of(folder)
    if manifest["num_rows"] <= LARGE_ROWS:
        shards = [_shard(folder, shard) for shard in manifest["shards"]]
        return RowTable(row for shard in shards for row in table_to_rows(shard))
    return MappedRowTable(_mapped(folder, manifest), cached_extent(folder))


def check_cache(folder: Folder) -> None:
    """ValueError when the cache is missing, incomplete or altered; one shard at a time is read."""
    for shard in _manifest_of(folder)["shards"]:
        _shard_bytes(folder, shard)


def count_truncated(folder: Folder) -> int:
    """How many of a written cache's prompts were cut."""
    return int(_manifest_of(folder)["num_truncated"])


def cached_extent(folder: Folder) -> Extent:
    """The extent of a written cache's rows."""
    manifest = _manifest_of(folder)
    return Extent(manifest["max_token"], manifest["longest"], manifest.get("longest_choice"))


def _mapped(folder: Folder, manifest: dict[str, Any]) -> pa.Table:
    """All shards as one memory-mapped table; decoded into this node's cache when that is not done yet."""
    path = cache_folder() / "rows" / f"{_digest_of(manifest)}.arrow"
    digest, temporary = path.with_suffix(".sha256"), path.with_suffix(".tmp")
    with only_one(path.with_suffix(".lock")):
        if not (digest.is_file() and path.is_file() and file_sha256(path) == digest.read_text()):
            with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, ROW_SCHEMA) as writer:
                for shard in manifest["shards"]:
                    writer.write_table(_shard(folder, shard))
            found = file_sha256(temporary)
            temporary.replace(path)
            write_bytes_atomic(digest, found.encode())
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _shard(folder: Folder, shard: dict[str, Any]) -> pa.Table:
    return decode_table(_shard_bytes(folder, shard)).cast(ROW_SCHEMA)


def _shard_bytes(folder: Folder, shard: dict[str, Any]) -> bytes:
    path = folder / shard["name"]
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no whole row cache here ({error})") from None
    if hashlib.sha256(data).hexdigest() != shard["sha256"]:
        raise ValueError(f"{path}: does not match the digest in its manifest; delete the folder")
    return data


def _extent_of(table: pa.Table) -> Extent:
    """The extent of a table with at least one row, without making rows of it."""
    choices = table["choices"].combine_chunks()
    counts = pc.list_value_length(choices).to_numpy()
    lengths = pc.list_value_length(choices.flatten()).to_numpy()
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    prompts = pc.list_value_length(table["prompt"].combine_chunks()).to_numpy()
    tokens = [pc.max(pc.list_flatten(table["prompt"])), pc.max(choices.flatten().flatten())]
    return Extent(
        max(token.as_py() for token in tokens),
        int((prompts + np.maximum.reduceat(lengths, starts)).max()),
        int(lengths.max()),
    )


def _manifest_of(folder: Folder) -> dict[str, Any]:
    """What the manifest says; ValueError when it is missing or altered."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder}: no whole row cache here ({error})") from None
    own = manifest.pop("manifest_sha256", None) if isinstance(manifest, dict) else None
    if own is None or own != _digest_of(manifest):
        raise ValueError(f"{folder}: no whole row cache here ({_MANIFEST} does not match its own digest)")
    return manifest


def _digest_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
