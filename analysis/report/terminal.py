"""The summary that a terminal shows when a study ends."""

from collections.abc import Mapping
from pathlib import Path

from analysis.report.sentences import headline
from analysis.stats.findings import Target, find
from analysis.stats.study_info import StudyInfo
from analysis.tables.accuracy import main_table

_COLUMNS = ("method", "size", "acc_norm", "seeds", "recovered lift", "lift: 95 %", "log-loss")


def summary_table(results: Path, *, info: Mapping[str, object] | None = None) -> str:
    """The main table of every target base as plain text, each with its headline; no trailing newline.

    Raises ValueError as `write_report` does.
    """
    findings = find(results, StudyInfo.from_dict(info or {}))
    return "\n\n".join(_target_text(target, findings.info) for target in findings.targets)


def _target_text(target: Target, info: StudyInfo) -> str:
    table = main_table(target.comparison, info, target.bootstrap, target.base).select(*_COLUMNS)
    return f"{table.title}\n{table.to_text()}\n{headline(target)}"
