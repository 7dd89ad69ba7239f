"""The summary that a terminal shows when a study ends: a line per method, and a line per kind of task."""

from pathlib import Path

from analysis.report.sentences import headline
from analysis.stats.findings import Target, load_findings
from analysis.tables.accuracy import main_table
from analysis.tables.kinds import short_kinds_table

_COLUMNS = ("method", "size", "{score}", "seeds", "recovered lift", "lift: 95 %", "log-loss")


def summary_table(results: Path) -> str:
    """The main table of every target base as plain text, each with its headline; no trailing newline.

    Where tasks share kinds, a table of these follows; single tasks are left to the report.

    `results` is the folder of a study's collected tables. Raises ValueError as `write_report` does.
    """
    return "\n\n".join(_target_text(target) for target in load_findings(results).targets)


def _target_text(target: Target) -> str:
    table = main_table(target).select(*(name.format(score=target.score_name) for name in _COLUMNS))
    text = f"{table.title}\n{table.to_text()}\n{headline(target)}"
    kinds = short_kinds_table(target)
    return text if kinds is None else f"{text}\n\n{kinds.title}\n{kinds.to_text()}"
