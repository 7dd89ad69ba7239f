"""`write_report`: a folder with one page, the tables as text and the figures as files."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from analysis.figures import Drawing, draw_curves, draw_methods, draw_tasks
from analysis.findings import Findings, Target, find
from analysis.page import render_page
from analysis.study_info import StudyInfo
from analysis.table import Table
from analysis.tables import (
    cost_table,
    curve_table,
    main_table,
    per_task_table,
    rules_table,
    sources_table,
)

_LENGTHS = {
    "chars": "characters, leading space included",
    "bytes": "bytes, leading space included",
    "tokens": "tokens",
    "lm-eval": "characters without the leading space",
}
_STANDING_NOTES = (
    "Epochs are chosen on validation rows; scores are read on test rows, which nothing was chosen on. The "
    "table of all selection rules shows what choosing on the reported rows would add.",
    "Means are over tasks within a seed first, then over seeds; ± is the sample std over seeds.",
    "Recovered lift is a ratio of task means, (method − base) / (per-task LoRA − base). It is left out, with "
    "the reason, where the LoRA does not rise above the base.",
    "Intervals resample documents (grouped where they share a passage or source) and seeds, paired over "
    "methods, in 10,000 draws. With few seeds they understate the variation between seeds.",
    "Log-losses are comparable within one base only: tokenizers differ.",
)


def write_report(results: Path, out: Path, *, title: str, info: Mapping[str, object] | None = None) -> Path:
    """Writes `index.html`, `tables.md`, `tables.tex`, `*.png` and `*.svg` into `out`; the page's path.

    `results` holds results.parquet and, for intervals, predictions.parquet; StudyInfo.from_dict reads `info`.
    The page is written last. Raises ValueError when the tables are missing, unreadable or not comparable.
    """
    findings = find(results, StudyInfo.from_dict(info or {}))
    out.mkdir(parents=True, exist_ok=True)
    slugs = _slugs([target.base for target in findings.targets])
    tables = {target.base: _target_tables(target, findings) for target in findings.targets}
    tables[""] = _study_tables(findings)
    drawings = {target.base: _draw(target, slugs[target.base]) for target in findings.targets}
    for drawing in (drawing for drawn in drawings.values() for drawing in drawn):
        drawing.save(out)
    notes = _notes(findings)
    _write_whole(out / "tables.md", _markdown(title, findings, tables, notes))
    every = [table for group in tables.values() for table in group]
    _write_whole(out / "tables.tex", "\n".join(table.to_latex() for table in every))
    page = out / "index.html"
    _write_whole(page, render_page(title, findings, tables, drawings, notes))
    return page


def _target_tables(target: Target, findings: Findings) -> list[Table]:
    tables = [
        main_table(target.comparison, findings.info, target.bootstrap),
        per_task_table(target.comparison),
        rules_table(target.rules),
    ]
    if "acc" in target.curves:
        log_loss = target.curves.get("log_loss")
        tables.append(curve_table(target.curves["acc"], log_loss))
    return tables


def _study_tables(findings: Findings) -> list[Table]:
    tables = [cost_table([target.comparison for target in findings.targets])]
    if findings.sources:
        tables.append(sources_table(findings.sources))
    return tables


def _draw(target: Target, slug: str) -> list[Drawing]:
    drawings = [draw_methods(target.comparison, slug)]
    drawings += [draw_curves(curves, slug) for curves in target.curves.values()]
    drawings.append(draw_tasks(target.comparison, slug))
    return drawings


def _notes(findings: Findings) -> list[str]:
    notes = [*findings.info.notes, *_STANDING_NOTES]
    for unit in sorted({run.acc_norm_unit for run in findings.study.runs}):
        notes.append(f"acc_norm divides a choice's log-likelihood by its length in {_LENGTHS[unit]}.")
    if not findings.has_predictions:
        notes.append("There is no predictions.parquet beside the result table, so there are no intervals.")
    if findings.study.duplicates:
        number = len(findings.study.duplicates)
        notes.append(
            f"{number} runs fill the place (method, base, size, seed) of another run with more scored epochs "
            f"and are not counted: {', '.join(findings.study.duplicates)}."
        )
    return notes


def _markdown(
    title: str, findings: Findings, tables: Mapping[str, Sequence[Table]], notes: Sequence[str]
) -> str:
    parts = [f"# {title}\n"]
    for target in findings.targets:
        parts.append(f"## {target.base}\n\n{target.headline()}\n")
        parts += [table.to_markdown() for table in tables[target.base]]
        parts.append("".join(f"- {sentence}\n" for sentence in target.sentences))
    parts.append("## The study\n")
    parts += [table.to_markdown() for table in tables[""]]
    for heading, runs in (("Failed", findings.info.failed), ("Not finished", findings.info.missing)):
        if runs:
            lines = "".join(f"- {run.describe()}: {run.cause or 'no finished run'}\n" for run in runs)
            parts.append(f"## {heading}\n\n{lines}")
    parts.append("## Notes\n\n" + "".join(f"- {note}\n" for note in notes))
    return "\n".join(part for part in parts if part)


def _slugs(bases: Sequence[str]) -> dict[str, str]:
    """File name parts for `bases`: lower case, no separators, numbered where two would be equal."""
    slugs: dict[str, str] = {}
    for base in bases:
        plain = re.sub(r"[^a-z0-9.]+", "-", base.lower()).strip("-.") or "base"
        taken = sum(slug == plain or slug.startswith(f"{plain}--") for slug in slugs.values())
        slugs[base] = f"{plain}--{taken + 1}" if taken else plain
    return slugs


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
