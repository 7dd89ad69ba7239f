"""Tables come back from their bytes, and Arrow's threads hold nothing of Python's for it."""

import sys

import pyarrow as pa
import pytest

from portal.storage.parquet import arrow_file, decode_schema, decode_table, encode_table

TABLE = pa.table({"task": ["a", "b", "a"], "score": [0.5, 1.0, 0.25]})


def test_a_table_comes_back_with_its_schema() -> None:
    data = encode_table(TABLE)

    assert decode_table(data).equals(TABLE)
    assert decode_schema(data).equals(TABLE.schema)


def test_columns_and_rows_can_be_chosen() -> None:
    found = decode_table(encode_table(TABLE), columns=["score"], filters=[("task", "=", "a")])

    assert found.to_pydict() == {"score": [0.5, 0.25]}


def test_other_bytes_are_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        decode_table(b"no table")


def test_a_file_that_arrow_reads_holds_no_object_of_python() -> None:
    """A thread of Arrow's that drops such an object while the process ends aborts it (SIGABRT)."""
    data = encode_table(TABLE)
    before = sys.getrefcount(data)

    file = arrow_file(data)

    assert sys.getrefcount(data) == before
    assert file.read() == data
