"""`Table`: named columns of values, shown as Markdown, LaTeX, CSV or text."""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from analysis.tables.columns import DASH, Column


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
