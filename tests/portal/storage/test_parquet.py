"""Tables come back from their bytes, and Arrow's threads hold nothing of Python's for it."""

import sys

import pyarrow as pa
import pytest

from portal.storage.parquet import arrow_file, column_values, decode_schema, decode_table, encode_table

TABLE = pa.table({"task": ["a", "b", "a"], "score": [0.5, 1.0, 0.25]})


def test_a_table_comes_back_with_its_schema_or_only_some_columns_and_rows_of_it() -> None:
    data = encode_table(TABLE)

    assert decode_table(data).equals(TABLE)
    assert decode_schema(data).equals(TABLE.schema)
    some = decode_table(data, columns=["score"], filters=[("task", "=", "a")])
    assert some.to_pydict() == {"score": [0.5, 0.25]}
    with pytest.raises(pa.ArrowInvalid):
        decode_table(b"no table")


def test_lists_of_a_column_come_as_tuples_whatever_its_chunks() -> None:
    nested = pa.chunked_array([[[[1], [2, 3]], [], None], [[[4]]]])

    assert column_values(nested) == [((1,), (2, 3)), (), (), ((4,),)]
    assert column_values(TABLE["task"]) == ["a", "b", "a"]


def test_a_file_that_arrow_reads_holds_no_object_of_python() -> None:
    """A thread of Arrow's that drops such an object while the process ends aborts it (SIGABRT)."""
    data = encode_table(TABLE)
    before = sys.getrefcount(data)

    file = arrow_file(data)

    assert sys.getrefcount(data) == before
    assert file.read() == data
