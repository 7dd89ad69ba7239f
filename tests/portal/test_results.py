"""The result files: their columns, their version, and refusal of anything else."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portal.results import PREDICTIONS, RESULTS, SCHEMA_VERSION, read_table, write_table


def results(count: int = 2) -> pa.Table:
    row: dict[str, Any] = dict.fromkeys(RESULTS.names)
    row |= {"run": "0" * 16, "method": "portal", "sources": ["a", "b"], "epoch": 1, "acc": 0.5, "rank": None}
    return pa.Table.from_pylist([row | {"epoch": epoch} for epoch in range(count)], schema=RESULTS)


def predictions() -> pa.Table:
    row = {
        "run": "0" * 16,
        "task": "sums",
        "epoch": 0,
        "split": "test",
        "example": "000",
        "cluster": "c",
        "scores": [-1.5, -2.0],
        "chars": [2, 3],
        "bytes": [2, 4],
        "tokens": [1, 1],
        "lm_eval_chars": [1, 2],
        "gold": 1,
    }
    return pa.Table.from_pylist([row], schema=PREDICTIONS)


def test_tables_come_back_equal_with_nulls_as_nulls(tmp_path: Path) -> None:
    for table, schema in ((results(), RESULTS), (predictions(), PREDICTIONS)):
        write_table(table, tmp_path / "table.parquet")

        assert read_table(tmp_path / "table.parquet", schema).equals(table)
    assert results()["log_loss"].null_count == 2


def test_writing_again_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_table(results(1), tmp_path / "results.parquet")
    write_table(results(3), tmp_path / "results.parquet")

    assert read_table(tmp_path / "results.parquet", RESULTS).num_rows == 3
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]


def test_a_missing_file_is_refused_saying_what_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such result table; `portal sweep collect` writes it"):
        read_table(tmp_path / "results.parquet", RESULTS)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "results.parquet"
    write_table(results(50), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])

    with pytest.raises(ValueError, match=r"results.parquet: not a readable Parquet file"):
        read_table(path, RESULTS)


def test_a_damaged_footer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_table(results(), path)
    data = bytearray(path.read_bytes())
    footer = int.from_bytes(data[-8:-4], "little")
    data[-8 - footer : -8] = bytes(footer)
    path.write_bytes(data)

    with pytest.raises(ValueError, match=r"results.parquet: not a readable Parquet file"):
        read_table(path, RESULTS)


@pytest.mark.parametrize(("metadata", "found"), [(None, "none"), ({b"portal_schema_version": b"999"}, "999")])
def test_a_table_of_another_schema_version_is_refused(
    tmp_path: Path, metadata: dict[bytes, bytes] | None, found: str
) -> None:
    path = tmp_path / "results.parquet"
    pq.write_table(results().replace_schema_metadata(metadata), path)

    with pytest.raises(
        ValueError, match=f"schema version {found}, this version of portal reads {SCHEMA_VERSION}"
    ):
        read_table(path, RESULTS)


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    for other in (results().drop_columns("seed"), results().append_column("more", pa.array([1, 2]))):
        write_table(other, path)
        with pytest.raises(ValueError, match="columns differ from schema version"):
            read_table(path, RESULTS)
    write_table(predictions(), path)
    with pytest.raises(ValueError, match="columns differ from schema version"):
        read_table(path, RESULTS)
