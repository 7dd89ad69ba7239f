"""`Table`: words and numbers ready to be shown, as Markdown, LaTeX or CSV."""

import csv
import io
from dataclasses import dataclass

DASH = "\u2014"
"""Stands for a number that does not exist; the reason is listed under the table."""


@dataclass(frozen=True)
class Table:
    """Text cells under `columns`. The first `left` columns hold words; `reasons` explain the dashes."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1
    reasons: tuple[str, ...] = ()

    def to_markdown(self) -> str:
        """A pipe table under a heading, with the reasons as a list."""
        align = [":--" if place < self.left else "--:" for place in range(len(self.columns))]
        lines = [self.columns, align, *self.rows]
        table = "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        reasons = "".join(f"- {reason}\n" for reason in self.reasons)
        return f"### {self.title}\n\n{table}\n" + (f"\n{reasons}" if reasons else "")

    def to_latex(self) -> str:
        """A booktabs tabular."""
        align = "l" * self.left + "r" * (len(self.columns) - self.left)
        body = " \\\\\n".join(" & ".join(map(_latex, row)) for row in self.rows)
        head = " & ".join(map(_latex, self.columns))
        return (
            f"% {self.title}\n\\begin{{tabular}}{{{align}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body} \\\\\n"
            "\\bottomrule\n\\end{tabular}\n"
        )

    def to_csv(self) -> str:
        """Comma-separated, with a header line."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return out.getvalue()


def _latex(text: str) -> str:
    escaped = text.replace("\\", r"\textbackslash ")
    for symbol in "&%$#_{}":
        escaped = escaped.replace(symbol, f"\\{symbol}")
    return escaped.replace("\u00b1", r"$\pm$").replace("\u2212", "$-$").replace(DASH, "---")
