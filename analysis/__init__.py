"""Result tables in; numbers, tables, figures and a report out. Needs neither torch nor ray.

The names below are its public API; docs/api.md shows them at work. They are loaded when they are first used:
only `write_report` loads matplotlib.
"""

from typing import TYPE_CHECKING

from portal.lazy import lazy_attributes

if TYPE_CHECKING:
    from analysis.report.html import ReportOptions
    from analysis.report.sentences import summary_table
    from analysis.report.write import ReportInput, write_report
    from analysis.stats.findings import Findings, Target, load_findings, load_runs
    from portal.results import StudyInfo

__all__ = [
    "load_findings",
    "load_runs",
    "Findings",
    "Target",
    "StudyInfo",
    "summary_table",
    "write_report",
    "ReportInput",
    "ReportOptions",
]
if not TYPE_CHECKING:  # else every misspelt name would pass a type checker
    __getattr__, __dir__ = lazy_attributes(
        __name__,
        {
            "analysis.report.html": "ReportOptions",
            "analysis.report.sentences": "summary_table",
            "analysis.report.write": "ReportInput write_report",
            "analysis.stats.findings": "Findings Target load_findings load_runs",
            "portal.results": "StudyInfo",
        },
    )
