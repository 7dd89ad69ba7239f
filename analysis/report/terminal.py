"""The summary that a terminal shows when a study ends."""

from pathlib import Path

from analysis.report.sentences import headline
from analysis.stats.findings import Target, load_findings
from analysis.tables.accuracy import main_table

_COLUMNS = ("method", "size", "acc_norm", "seeds", "recovered lift", "lift: 95 %", "log-loss")


def summary_table(results: Path) -> str:
    """The main table of every target base as plain text, each with its headline; no trailing newline.

    `results` is the folder of a study's collected tables. Raises ValueError as `write_report` does.
    """
    return "\n\n".join(_target_text(target) for target in load_findings(results).targets)


def _target_text(target: Target) -> str:
    table = main_table(target).select(*_COLUMNS)
    return f"{table.title}\n{table.to_text()}\n{headline(target)}"
