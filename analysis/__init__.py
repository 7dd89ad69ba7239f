"""Result tables in; numbers, tables, figures and a report out. Needs neither torch nor ray.

    findings = load_findings(Path("portal-demo/results"))      # numbers: Findings, one Target per base
    print(summary_table(Path("portal-demo/results")))          # the main tables as text
    page = write_report([ReportInput(Path("portal-demo/results"))], Path("report"), ReportOptions(price=3.5))

Names are imported when they are first used: only `write_report` loads matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.report.options import ReportOptions
    from analysis.report.terminal import summary_table
    from analysis.report.write import ReportInput, write_report
    from analysis.stats.findings import Findings, Target, load_findings
    from portal.results import StudyInfo

__all__ = [
    "load_findings",
    "Findings",
    "Target",
    "StudyInfo",
    "summary_table",
    "write_report",
    "ReportInput",
    "ReportOptions",
]
_MODULES = {
    "load_findings": "analysis.stats.findings",
    "Findings": "analysis.stats.findings",
    "Target": "analysis.stats.findings",
    "StudyInfo": "portal.results",
    "summary_table": "analysis.report.terminal",
    "write_report": "analysis.report.write",
    "ReportInput": "analysis.report.write",
    "ReportOptions": "analysis.report.options",
}


if not TYPE_CHECKING:  # else every misspelt name would pass a type checker

    def __getattr__(name: str) -> object:
        """The public name, imported now (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
