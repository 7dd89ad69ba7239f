"""The token cache gives back what was written or says that it cannot; a large one is mapped, not read."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portal.data import token_cache as row_cache
from portal.data.sampling import batch_rows, calibration_rows, evaluation_rows
from portal.data.token_cache import (
    MappedRows,
    MappedRowTable,
    cached_extent,
    check_cache,
    read_cache,
    write_cache,
)
from portal.data.token_rows import RowTable, extent_of, rows_to_table
from tests.support.bases import TASKS, make_base, make_rows


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    rows = make_rows(make_base("tiny", "qwen3"), count=3).all()
    write_cache(tmp_path / "cache", [rows_to_table(rows)], identity={"a": 1})
    return tmp_path / "cache"


def test_a_cache_gives_back_the_rows_that_were_written_in_whatever_order(cache: Path, tmp_path: Path) -> None:
    rows = make_rows(make_base("tiny", "qwen3"), count=3).all()

    assert read_cache(cache).all() == rows
    manifest = json.loads((cache / "manifest.json").read_text())
    assert (manifest["identity"], manifest["num_rows"]) == ({"a": 1}, len(rows))
    assert sorted(path.name for path in cache.iterdir()) == ["manifest.json", "rows-00000.parquet"]
    write_cache(tmp_path / "other", [rows_to_table(rows[::-1])], identity={"a": 1})
    written, other = (folder / "rows-00000.parquet" for folder in (cache, tmp_path / "other"))
    assert written.read_bytes() == other.read_bytes()


def flipped(path: Path, place: float) -> bytes:
    """Alter a bit of the file; its bytes now."""
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 4
    path.write_bytes(data)
    return bytes(data)


def test_a_cache_that_is_altered_cut_short_or_incomplete_is_refused(cache: Path) -> None:
    shard, manifest = cache / "rows-00000.parquet", cache / "manifest.json"
    data, told = shard.read_bytes(), manifest.read_bytes()

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_cache(cache)

    for place in (0.0, 0.3, 0.6, 0.999):
        shard.write_bytes(data)
        flipped(shard, place)
        refused("does not match the digest")
    shard.write_bytes(data[: len(data) // 2])
    refused("does not match the digest")
    shard.write_bytes(data)
    other = told.replace(b'"a": 1', b'"a": 2')
    for content in (b"", b'{"sha256": "12', b"{}", b"[]", b"\xff\xfe\xfa", other):
        manifest.write_bytes(content)
        refused("no whole row cache here")
    manifest.write_bytes(told)
    for missing in (shard, manifest):
        missing.unlink()
        refused("no whole row cache here")


def test_a_cache_that_did_not_record_its_longest_choice_is_still_read(cache: Path) -> None:
    manifest = json.loads((cache / "manifest.json").read_bytes())
    whole = cached_extent(cache)
    del manifest["longest_choice"], manifest["manifest_sha256"]
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (cache / "manifest.json").write_text(json.dumps({**manifest, "manifest_sha256": digest}))

    assert cached_extent(cache) == replace(whole, longest_choice=None) != whole
    assert len(read_cache(cache).all()) == manifest["num_rows"]


def test_a_cache_of_nothing_has_no_rows_and_fits_every_base(tmp_path: Path) -> None:
    write_cache(tmp_path / "cache", [], identity={})

    table, extent = read_cache(tmp_path / "cache"), cached_extent(tmp_path / "cache")
    assert (table.tasks, table.all()) == ((), [])
    assert not table.has("sums", "train")
    assert (extent.max_token, extent.longest, extent.longest_choice) == (0, 0, 0)
    assert table.extent == extent


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, RowTable]:
    """A cache of several shards, in an order of its own, which counts as large; and its rows in memory."""
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "node"))
    rows = make_rows(make_base("tiny", "gemma3"), count=20)
    mixed = [rows.all()[place] for place in np.random.default_rng(0).permutation(len(rows.all()))]
    tables = [rows_to_table(mixed[start : start + 25]) for start in range(0, len(mixed), 25)]
    write_cache(tmp_path / "cache", tables, identity={"a": 1})
    monkeypatch.setattr(row_cache, "LARGE_ROWS", 10)
    monkeypatch.setattr("portal.data.sampling.LARGE_ROWS", 10)
    return tmp_path / "cache", rows


def test_a_large_cache_has_the_same_rows_extent_and_draws(large: tuple[Path, RowTable]) -> None:
    folder, rows = large

    found = read_cache(folder)

    assert isinstance(found, MappedRowTable)
    assert found.tasks == rows.tasks
    assert found.extent == cached_extent(folder) == extent_of(rows.all())
    assert found.all() == rows.all()
    for task in TASKS:
        ours, theirs = found.rows(task, "train"), rows.rows(task, "train")
        assert isinstance(ours, MappedRows)
        assert (len(ours), ours[3], ours[-1], ours[2:5]) == (20, theirs[3], theirs[-1], theirs[2:5])
        assert [*ours] == [*theirs]
        for size in (4, None):
            drawn = calibration_rows(ours, size, 7), calibration_rows(theirs, size, 7)
            assert isinstance(drawn[0], MappedRows) == (size is None)
            assert [*drawn[0]] == [*drawn[1]]
            batches = [batch_rows(each, batch_size=3, seed=1, stream=0, step=5) for each in drawn]
            assert batches[0] == batches[1]
        assert evaluation_rows(ours, 5) == evaluation_rows(theirs, 5)
    with pytest.raises(ValueError, match="task 'other' has no rows in split 'train'"):
        found.rows("other", "train")


def test_a_large_cache_is_decoded_once_a_node_and_again_when_the_copy_is_damaged(
    large: tuple[Path, RowTable], tmp_path: Path
) -> None:
    folder, rows = large
    read_cache(folder)
    (copy,) = (tmp_path / "node" / "rows").glob("*.arrow")
    written = copy.stat().st_mtime_ns
    read_cache(folder)
    assert copy.stat().st_mtime_ns == written
    damaged = flipped(copy, 0.5)

    assert read_cache(folder).all() == rows.all()
    assert copy.read_bytes() != damaged


def test_an_altered_shard_of_a_large_cache_is_refused(large: tuple[Path, RowTable]) -> None:
    folder, _ = large
    check_cache(folder)
    flipped(folder / "rows-00001.parquet", 0.5)

    for read in (check_cache, read_cache):
        with pytest.raises(ValueError, match=r"rows-00001.parquet: does not match the digest"):
            read(folder)
