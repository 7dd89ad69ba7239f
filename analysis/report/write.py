"""`write_report`: a folder with one page, the tables as text and the figures as files."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.report.document import ReportDocument
from analysis.report.html import render_page
from analysis.report.one_study import study_document
from analysis.report.two_studies import pair_document
from analysis.stats.findings import find
from analysis.stats.study_info import StudyInfo

TABLES_FOLDER = "tables"
FILES = "files.json"
"""Names of the figures and tables that a report has, so that the next one here can replace them all."""
_NAME = re.compile(r"(tables/)?[A-Za-z0-9.-]+\.(png|svg|pdf|csv)")


@dataclass(frozen=True)
class ReportInput:
    """A study to report: the folder with results.parquet and, for intervals, predictions.parquet.

    StudyInfo.from_dict reads `info`; `name` tells it from another one beside it.
    """

    results: Path
    name: str
    info: Mapping[str, object]


def write_report(
    sources: Sequence[ReportInput],
    out: Path,
    *,
    title: str,
    price: float | None = None,
    refresh_s: int | None = None,
) -> Path:
    """Writes index.html, tables.md, tables.tex, tables/*.csv and every figure into `out`; the page's path.

    One study, or two side by side. `price` is that of a device-hour. The page is written last; with
    `refresh_s` it loads itself anew. Raises ValueError when tables are missing, unreadable or not comparable.
    """
    findings = [find(source.results, StudyInfo.from_dict(source.info)) for source in sources]
    if len(findings) == 1:
        content = study_document(title, findings[0], price)
    elif len(findings) == 2:
        content = pair_document(title, (findings[0], findings[1]), (sources[0].name, sources[1].name), price)
    else:
        raise ValueError(f"a report is of one study or of two, not of {len(findings)}")
    _write_files(content, out)
    page = out / "index.html"
    _write_whole(page, render_page(content, refresh_s=refresh_s))
    return page


def _write_files(content: ReportDocument, out: Path) -> None:
    """Figures and tables; those of an earlier report here that this one does not have are deleted."""
    folder = out / TABLES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for drawing in content.drawings for path in drawing.save(out)]
    for table in content.tables:
        path = folder / f"{table.slug}.csv"
        _write_whole(path, table.to_csv())
        written.append(path)
    names = sorted(str(path.relative_to(out)) for path in written)
    for name in set(_listed(out)) - set(names):
        (out / name).unlink(missing_ok=True)
    _write_whole(out / FILES, json.dumps(names, indent=1))
    _write_whole(out / "tables.md", content.to_markdown())
    _write_whole(out / "tables.tex", "\n".join(table.to_latex() for table in content.tables))


def _listed(out: Path) -> list[str]:
    """What the last report here wrote; names that are none of ours are passed over."""
    path = out / FILES
    names = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
