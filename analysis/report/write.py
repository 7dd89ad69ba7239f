"""`write_report`: a folder with one page, a page for each run, tables as text and figures as files."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.report.html import (
    SCRIPT,
    STYLE,
    ReportDocument,
    ReportOptions,
    page_script,
    page_style,
    render_page,
)
from analysis.report.one_study import study_document
from analysis.report.run_pages import PAGES_FOLDER, RUNS_PAGE, run_pages
from analysis.report.two_studies import pair_document
from analysis.stats.findings import Findings, load_findings
from portal.results import StudyInfo
from portal.storage.atomic import write_bytes_atomic

TABLES_FOLDER = "tables"
FILES = "files.json"
"""Names of all other files that a report has, so that the next one here can replace them all."""
_NAME = re.compile(r"(tables/|runs/)?[A-Za-z0-9.-]+\.(png|svg|pdf|csv|html|css|js)")


@dataclass(frozen=True)
class ReportInput:
    """A study to report.

    results  folder with results.parquet and, for intervals, predictions.parquet
    name     name of the study; by default what its record says, else the name of the folder around `results`
    info     the study's record; by default the one in `results`
    """

    results: Path
    name: str = ""
    info: StudyInfo | None = None


def write_report(studies: Sequence[ReportInput], out: Path, options: ReportOptions = ReportOptions()) -> Path:
    """Write index.html, tables.md, tables.tex, tables/*.csv and every figure into `out`; the page's path.

    Of one study whose tables tell of single runs, runs/ has a page for each of them.

    One study, or two side by side. The page is written last. Raises ValueError when tables are missing,
    unreadable or not comparable.
    """
    if len(studies) not in (1, 2):
        raise ValueError(f"a report is of one study or of two, not of {len(studies)}")
    findings = [load_findings(study.results, study.info) for study in studies]
    names = [_name_of(study, found) for study, found in zip(studies, findings, strict=True)]
    options = replace(options, title=options.title or f"PorTAL: {' and '.join(dict.fromkeys(names))}")
    if len(findings) == 1:
        document = study_document(findings[0], options)
    else:
        document = pair_document((findings[0], findings[1]), (names[0], names[1]), options)
    pages = {} if len(findings) > 1 else _pages(findings[0], options.title)
    if pages:
        document = replace(document, links=((f"{PAGES_FOLDER}/{RUNS_PAGE}", "All runs"),))
    _write_files(document, pages, out)
    page = out / "index.html"
    _write_text(page, render_page(document, refresh_s=options.refresh_s))
    return page


def _name_of(study: ReportInput, findings: Findings) -> str:
    return study.name or str(findings.info.facts.get("study") or study.results.resolve().parent.name)


def _pages(findings: Findings, title: str) -> dict[str, str]:
    """The pages of single runs, by file, with what they share; none where there are no pages."""
    pages = {
        f"{PAGES_FOLDER}/{name}": render_page(content, assets=".")
        for name, content in run_pages(findings, title)
    }
    if pages:
        pages[f"{PAGES_FOLDER}/{STYLE}"], pages[f"{PAGES_FOLDER}/{SCRIPT}"] = page_style(), page_script()
    return pages


def _write_files(document: ReportDocument, pages: Mapping[str, str], out: Path) -> None:
    """Figures, tables and pages of runs; those of an earlier report that this one lacks are deleted."""
    folder = out / TABLES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for drawing in document.drawings for path in drawing.save(out)]
    for table in document.tables:
        path = folder / f"{table.slug}.csv"
        _write_text(path, table.to_csv())
        written.append(path)
    for name, text in pages.items():
        (out / name).parent.mkdir(exist_ok=True)
        _write_text(out / name, text)
        written.append(out / name)
    names = sorted(str(path.relative_to(out)) for path in written)
    for name in set(report_files(out)) - set(names):
        (out / name).unlink(missing_ok=True)
    _write_text(out / FILES, json.dumps(names, indent=1))
    _write_text(out / "tables.md", document.to_markdown())
    _write_text(out / "tables.tex", "\n".join(table.to_latex() for table in document.tables))


def report_files(out: Path) -> list[str]:
    """Names of the files that the last report here has, but for those with all of its tables.

    Names that no report of ours has are passed over.
    """
    path = out / FILES
    names = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def _write_text(path: Path, text: str) -> None:
    write_bytes_atomic(path, text.encode())
