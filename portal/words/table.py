"""`Table`: facts about things of one kind, a row for each, and the split that each belongs to."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

Row = Mapping[str, tuple[str, ...]]
"""By column: the value, and behind it other words that are right as well. An empty field has no entry."""
_TURNS = ("train", "test", "train", "validation", "train", "test")
"""Splits take turns over a table's shuffled rows: a half, a sixth and a third of them."""


@dataclass(frozen=True)
class Table:
    """Rows under the same columns. The first column names what a row is about, and no two are the same."""

    name: str
    rows: tuple[Row, ...]

    def with_column(self, column: str, make: Callable[[Row], str]) -> "Table":
        """The table with a further column, made of the others; an empty text leaves the field empty."""
        rows = [{**row, column: (made,)} if (made := make(row)) else row for row in self.rows]
        return Table(self.name, tuple(rows))

    @cached_property
    def key_column(self) -> str:
        return next(iter(self.rows[0]))

    @cached_property
    def splits(self) -> Mapping[str, str]:
        """The split of every row, by what the row is about: the same for all that is asked about it."""
        keys = [row[self.key_column][0] for row in self.rows]
        shuffled = random.Random(f"words {self.name}").sample(keys, len(keys))
        return {key: _TURNS[place % len(_TURNS)] for place, key in enumerate(shuffled)}


def read_table(name: str, text: str) -> Table:
    """The table in `text`: a line of columns, then a line per row; fields part at commas, words at slashes.

    Raises ValueError for a row with another number of fields than there are columns.
    """
    header, *lines = text.strip().splitlines()
    columns = [column.strip() for column in header.split(",")]
    rows = []
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(columns):
            raise ValueError(f"table {name!r}: {line!r} has {len(fields)} fields instead of {len(columns)}")
        rows.append({c: tuple(field.split("/")) for c, field in zip(columns, fields, strict=True) if field})
    return Table(name, tuple(rows))
