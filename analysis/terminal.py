"""The summary that a terminal shows when a study ends."""

from collections.abc import Mapping
from pathlib import Path

from analysis.findings import Target, find
from analysis.study_info import StudyInfo
from analysis.table import Table
from analysis.tables import main_table

_COLUMNS = ("method", "size", "acc_norm", "seeds", "recovered lift", "95 % interval", "log-loss")


def summary_table(results: Path, *, info: Mapping[str, object] | None = None) -> str:
    """The main table of every target base as plain text, each with its headline; no trailing newline.

    Raises ValueError as `write_report` does.
    """
    findings = find(results, StudyInfo.from_dict(info or {}))
    return "\n\n".join(_target_text(target, findings.info) for target in findings.targets)


def format_plain(table: Table) -> str:
    """Aligned columns: words to the left, numbers to the right."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.columns))]
    padded = [
        "  ".join(
            cell.ljust(width) if place < table.left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([padded[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *padded[1:]])


def _target_text(target: Target, info: StudyInfo) -> str:
    full = main_table(target.comparison, info, target.bootstrap)
    places = [full.columns.index(column) for column in _COLUMNS]
    rows = tuple(tuple(row[place] for place in places) for row in full.rows)
    table = Table(full.title, _COLUMNS, rows, 1)
    return f"{table.title}\n{format_plain(table)}\n{target.headline()}"
