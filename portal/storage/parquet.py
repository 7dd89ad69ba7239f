"""Parquet in memory: from a file's bytes to a table, and back."""

import io
from collections.abc import Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Filters = Sequence[tuple[str, str, str]]
"""(column, operator, value) each; a row must pass all of them."""


def encode_table(table: pa.Table) -> bytes:
    """A Parquet file that holds `table`."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def decode_table(
    data: bytes, *, columns: Sequence[str] | None = None, filters: Filters | None = None
) -> pa.Table:
    """The table in a Parquet file; some `columns` of the rows that pass `filters`.

    ArrowInvalid for other files.
    """
    return pq.read_table(arrow_file(data), columns=columns, filters=filters)


def decode_schema(data: bytes) -> pa.Schema:
    """The schema of the table in a Parquet file; ArrowInvalid for other files."""
    return pq.read_schema(arrow_file(data))


def column_values(column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The column's values, lists as tuples, a list that is null as an empty one.

    pyarrow's own way of making lists takes long.
    """
    if not pa.types.is_list(column.type):
        return column.to_pylist()
    inner = iter(column_values(pc.list_flatten(column)))
    return [tuple(islice(inner, length or 0)) for length in pc.list_value_length(column).to_pylist()]


def arrow_file(data: bytes) -> pa.NativeFile:
    """The bytes as a file in Arrow's own memory.

    Arrow's threads drop their last reference to a file some time after the read has returned. Were that a
    reference to a Python object, they would need the interpreter for it: in a process that is ending by then,
    C++ aborts it.
    """
    memory = pa.BufferOutputStream()
    memory.write(data)
    return pa.BufferReader(memory.getvalue())
