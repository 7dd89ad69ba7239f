"""`make results`: tables and figures of pages in docs/results, from the result files kept beside them.

kept/          files of the whole study: the page's own tables and figures are made from them
kept-seed-0/   files of one seed, without predictions: tables.md beside them, without intervals
"""

import re
import sys
import tempfile
from pathlib import Path

from analysis.report.html import ReportDocument, ReportOptions
from analysis.report.one_study import study_document
from analysis.stats.findings import load_findings
from portal.results import read_study_info

PAGES = Path(__file__).parents[1] / "docs" / "results"
WHOLE = "kept"


def kept_folders() -> list[Path]:
    """Each has the tables of a study in `results`, as an output folder has: `portal report` reads it."""
    return sorted(place.parent for place in PAGES.glob("*/kept*/results"))


def tables_of(kept: Path) -> Path:
    """The file whose tables are made from the kept ones."""
    return (kept.parent if kept.name == WHOLE else kept) / "tables.md"


def document_of(kept: Path) -> ReportDocument:
    """The report of the kept files."""
    info = read_study_info(kept / "results")
    options = ReportOptions(title=f"PorTAL: {info.facts['study']}")
    return study_document(load_findings(kept / "results", info), options)


def write_tables(kept: Path) -> list[Path]:
    """Write tables and, of a whole study, the figures that its page has; the files."""
    document = document_of(kept)
    written = [tables_of(kept)]
    written[0].write_text(document.to_markdown(), encoding="utf-8")
    if kept.name != WHOLE:
        return written
    page = kept.parent
    if (latex := page / "tables.tex").is_file():
        latex.write_text("\n".join(table.to_latex() for table in document.tables), encoding="utf-8")
        written.append(latex)
    shown = set(re.findall(r"\]\(([\w.-]+\.(?:svg|png))\)", (page / "README.md").read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as scratch:
        drawn = {path.name: path for drawing in document.drawings for path in drawing.save(Path(scratch))}
        if missing := shown - set(drawn):
            raise ValueError(f"{page}: the report has no figure {', '.join(sorted(missing))}")
        for name in sorted(shown):
            (page / name).write_bytes(drawn[name].read_bytes())
            written.append(page / name)
    return written


def main() -> None:
    """Rebuild the pages that are named, or all."""
    for kept in kept_folders():
        if not sys.argv[1:] or kept.parent.name in sys.argv[1:]:
            for path in write_tables(kept):
                print(path.relative_to(PAGES))


if __name__ == "__main__":
    main()
