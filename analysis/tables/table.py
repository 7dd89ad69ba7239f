"""`Column` and `Table`: named columns of values, shown as Markdown, LaTeX, CSV or text.

A value that does not exist is None; it reads as a dash, and as an empty field of a CSV.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeVar

from analysis.stats.aggregate import Quantity, Spread
from analysis.stats.bootstrap import Interval

DASH = "\u2014"
"""Stands for a number that does not exist; the reason is listed under the table."""
_MINUS = "\u2212"


@dataclass(frozen=True)
class Kind:
    """A kind of value: `text` shows it to people; `fields` are its numbers, one for each of `suffixes`.

    Words that `name` their row tell it from others. A text that `wraps` may take several lines of a cell.
    """

    text: Callable[[Any], str]
    fields: Callable[[Any], tuple[object, ...]] = lambda value: (value,)
    suffixes: tuple[str, ...] = ("",)
    is_word: bool = False
    names: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Column:
    """A named column of values of one kind."""

    name: str
    kind: Kind

    def text(self, value: object) -> str:
        """The value for people."""
        return DASH if value is None else self.kind.text(value)

    def header(self) -> tuple[str, ...]:
        """Names of its CSV columns, one per suffix of the kind."""
        return tuple(f"{self.name}{suffix}" for suffix in self.kind.suffixes)

    def fields(self, value: object) -> tuple[str, ...]:
        """The CSV fields of a value, in full precision."""
        numbers = (None,) * len(self.kind.suffixes) if value is None else self.kind.fields(value)
        return tuple("" if number is None else str(number) for number in numbers)


def format_number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return DASH if value is None else f"{value:.3f}".replace("-", _MINUS)


def format_spread(value: Spread) -> str:
    """`0.765 ± 0.003`; without std when there is one seed."""
    if value.mean is None:
        return DASH
    return f"{value.mean:.3f}" if value.std is None else f"{value.mean:.3f} \u00b1 {value.std:.3f}"


def format_percent(value: Quantity) -> str:
    """`97.7 %`, or a dash."""
    return DASH if value.value is None else f"{100 * value.value:.1f} %".replace("-", _MINUS)


def format_percent_range(value: Interval) -> str:
    """`92 to 104 %`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{100 * value.low:.0f} to {100 * value.high:.0f} %".replace("-", _MINUS)


def format_points(share: float) -> str:
    """A share in percentage points, with a second decimal where the first would round a sign away."""
    points = 100 * share
    if points == 0:
        return "0.0"
    text = f"{points:+.2f}" if 0 < abs(points) < 0.05 else f"{points:+.1f}"
    return text.replace("-", _MINUS)


def format_points_range(value: Interval) -> str:
    """`−1.2 to +0.4`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{format_points(value.low)} to {format_points(value.high)}"


def format_number_range(value: Interval) -> str:
    """`0.021 to 0.034`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{format_number(value.low)} to {format_number(value.high)}"


def format_amount(value: float) -> str:
    """Three significant digits below a thousand, whole above: `0.0123`, `12.3`, `1,234`."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _limits(value: Interval) -> tuple[object, ...]:
    return value.low, value.high


WORD = Kind(str, is_word=True, names=True)
VERDICT = Kind(str, is_word=True)
TEXT = Kind(str, is_word=True, wraps=True)
COUNT = Kind(lambda value: f"{value:,}")
NUMBER = Kind(format_number)
SPREAD = Kind(format_spread, lambda value: (value.mean, value.std, value.n), ("", " std", " n"))
PERCENT = Kind(format_percent, lambda value: (value.value,))
PERCENT_RANGE = Kind(format_percent_range, _limits, (" low", " high"))
POINTS = Kind(format_points)
POINTS_RANGE = Kind(format_points_range, _limits, (" low", " high"))
NUMBER_RANGE = Kind(format_number_range, _limits, (" low", " high"))
AMOUNT = Kind(format_amount)
SCIENTIFIC = Kind(lambda value: f"{value:.2e}")
SECONDS = Kind(lambda value: f"{value:,.1f}")


Item = TypeVar("Item")
Fields = Sequence[tuple[str, Kind, Callable[[Item], object]]]
"""Columns of a table whose rows are of like items: name, kind, and the value of an item."""


@dataclass(frozen=True)
class Table:
    """A titled table. `rows` hold one value per column, None where there is none; `reasons` say why.

    `slug` names the table's file. Columns of words come first. `links` are where the cells of a column lead
    on a page, by its name.
    """

    title: str
    slug: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[object, ...], ...]
    reasons: tuple[str, ...] = ()
    footer: int = 0  # closing rows that stay below when the others are sorted
    links: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), self.title
        assert {*self.links} <= {*self.names}, self.title
        assert all(len(places) == len(self.rows) for places in self.links.values()), self.title
        object.__setattr__(self, "reasons", tuple(" ".join(reason.split()) for reason in self.reasons))

    @classmethod
    def of(
        cls,
        title: str,
        slug: str,
        items: Iterable[Item],
        fields: Fields[Item],
        *,
        reasons: Iterable[str] = (),
        footer: int = 0,
        links: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Self:
        """A row for each item."""
        columns = tuple(Column(name, kind) for name, kind, _ in fields)
        rows = tuple(tuple(value(each) for _, _, value in fields) for each in items)
        return cls(title, slug, columns, rows, tuple(reasons), footer, links or {})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as people read them."""
        return tuple(
            tuple(column.text(value) for column, value in zip(self.columns, row, strict=True))
            for row in self.rows
        )

    def select(self, *names: str) -> "Table":
        """The table with these columns only."""
        places = [self.names.index(name) for name in names]
        rows = tuple(tuple(row[place] for place in places) for row in self.rows)
        columns = tuple(self.columns[place] for place in places)
        links = {name: places for name, places in self.links.items() if name in names}
        return replace(self, columns=columns, rows=rows, links=links)

    def to_markdown(self) -> str:
        """A pipe table under a heading, with the reasons as a list."""
        align = [":--" if column.kind.is_word else "--:" for column in self.columns]
        lines = [self.names, align, *self.texts]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        reasons = "".join(f"- {reason}\n" for reason in self.reasons)
        return f"### {self.title}\n\n{table}\n" + (f"\n{reasons}" if reasons else "")

    def to_latex(self) -> str:
        """A booktabs tabular; the reasons are comments above it."""
        align = "".join("l" if column.kind.is_word else "r" for column in self.columns)
        body = " \\\\\n".join(" & ".join(map(_latex, row)) for row in self.texts)
        head = " & ".join(map(_latex, self.names))
        above = "".join(f"% {line}\n" for line in (self.title, *self.reasons))
        return (
            f"{above}\\begin{{tabular}}{{{align}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
            "\\bottomrule\n\\end{tabular}\n"
        )

    def to_csv(self) -> str:
        """Plain numbers in full precision under one header line; a spread takes three columns."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([name for column in self.columns for name in column.header()])
        for row in self.rows:
            values = zip(self.columns, row, strict=True)
            writer.writerow([field for column, value in values for field in column.fields(value)])
        return out.getvalue()

    def to_text(self) -> str:
        """Aligned columns: words to the left, numbers to the right."""
        lines = [self.names, *self.texts]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        padded = [
            "  ".join(
                cell.ljust(width) if column.kind.is_word else cell.rjust(width)
                for column, cell, width in zip(self.columns, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([padded[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *padded[1:]])


_LATEX = {
    **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\u00b1": r"$\pm$",
    "\u2212": "$-$",
    "\u2265": r"$\geq$",
    "\u2264": r"$\leq$",
    "\u2605": r"$\star$",
    "\u00d7": r"$\times$",
    DASH: "---",
}


def _latex(text: str) -> str:
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found.group()], text)
