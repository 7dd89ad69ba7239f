"""`write_report`: a folder with one page, the tables as text and the figures as files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.content import Content
from analysis.cost_tables import Rate
from analysis.findings import find
from analysis.page import render_page
from analysis.side_by_side import pair_content
from analysis.study_content import study_content
from analysis.study_info import StudyInfo

TABLES_FOLDER = "tables"


@dataclass(frozen=True)
class Source:
    """A study to report: the folder with results.parquet and, for intervals, predictions.parquet.

    StudyInfo.from_dict reads `info`; `name` tells it from another one beside it.
    """

    results: Path
    name: str
    info: Mapping[str, object]


def write_report(
    sources: Sequence[Source],
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
        content = study_content(title, findings[0], Rate(findings[0].info.device_share, price))
    elif len(findings) == 2:
        content = pair_content(title, (findings[0], findings[1]), (sources[0].name, sources[1].name))
    else:
        raise ValueError(f"a report is of one study or of two, not of {len(findings)}")
    _write_files(content, out)
    page = out / "index.html"
    _write_whole(page, render_page(content, refresh_s=refresh_s))
    return page


def _write_files(content: Content, out: Path) -> None:
    folder = out / TABLES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in content.drawings:
        drawing.save(out)
    for table in content.tables:
        _write_whole(folder / f"{table.slug}.csv", table.to_csv())
    _write_whole(out / "tables.md", content.to_markdown())
    _write_whole(out / "tables.tex", "\n".join(table.to_latex() for table in content.tables))


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
