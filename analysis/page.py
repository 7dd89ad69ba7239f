"""The report's page as one HTML text: style, script and figures inside, nothing fetched."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from analysis.figures import Drawing
from analysis.findings import Findings, Target
from analysis.inline_svg import colour_rules, to_inline_svg
from analysis.intervals import count_seeds
from analysis.study_info import AbsentRun
from analysis.table import DASH, Table
from analysis.tables import format_number, format_percent, lift_interval


def render_page(
    title: str,
    findings: Findings,
    tables: Mapping[str, Sequence[Table]],
    drawings: Mapping[str, Sequence[Drawing]],
    notes: Sequence[str],
) -> str:
    """The whole page. `tables` and `drawings` are by target base; tables under "" belong to the study."""
    sections = [
        _target_section(target, tables[target.base], drawings[target.base]) for target in findings.targets
    ]
    links = [(_anchor(target.base), target.base) for target in findings.targets]
    links += [
        ("study", "The study"),
        ("ran", "What was run"),
        ("absent", "Failed or missing"),
        ("notes", "Notes"),
    ]
    nav = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in links)
    style = files("analysis").joinpath("page.css").read_text(encoding="utf-8")
    script = files("analysis").joinpath("page.js").read_text(encoding="utf-8")
    palette = (
        f":root{{{colour_rules(dark=False)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{colour_rules(dark=True)}}}}}"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{palette}\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>\n"
        '<p class="quiet">Recovered lift: the share of the rise from the frozen base to a LoRA for each task '
        "that a method reaches. Epochs are chosen on validation rows, scores are on test rows.</p>"
        f'<nav aria-label="Sections">{nav}</nav></header>\n<main>\n'
        f'<div class="tiles">{"".join(_tile(target) for target in findings.targets)}</div>\n'
        f"{''.join(sections)}"
        f'<section id="study"><h2>The study</h2>{"".join(map(_table_card, tables[""]))}</section>\n'
        f'<section id="ran"><h2>What was run</h2>{_facts(findings)}</section>\n'
        f'<section id="absent"><h2>Failed or missing</h2>{_absent(findings)}</section>\n'
        f'<section id="notes"><h2>Notes</h2><div class="card">{_list(notes)}</div></section>\n'
        f"</main>\n<footer>tables.md and every figure as PNG and SVG lie beside this page.</footer>\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _tile(target: Target) -> str:
    port, floor, ceiling = (
        target.comparison.find("portal"),
        target.comparison.floor,
        target.comparison.ceiling,
    )
    number, quiet = DASH, target.headline()
    if port is not None and port.lift.value is not None and floor is not None and ceiling is not None:
        number = format_percent(port.lift)
        name = target.comparison.name(port)
        interval = lift_interval(port, target.comparison, target.bootstrap)
        within = "" if interval == DASH else f", 95 % interval {interval}"
        quiet = (
            f"{count_seeds(port.acc.n)}{within}. acc_norm: base {format_number(floor.acc.mean)}, "
            f"{name} {format_number(port.acc.mean)}, per-task LoRA {format_number(ceiling.acc.mean)}."
        )
    return (
        f'<div class="tile"><div class="number">{number}</div>'
        f"<p><b>recovered lift on {escape(target.base)}</b></p>"
        f'<p class="quiet">{escape(quiet)}</p></div>'
    )


def _target_section(target: Target, tables: Sequence[Table], drawings: Sequence[Drawing]) -> str:
    main, *further = tables
    methods, *curves, tasks = drawings
    sentences = f'<div class="card"><h3>What can be told apart</h3>{_list(target.sentences)}</div>'
    return (
        f'<section id="{_anchor(target.base)}"><h2>{escape(target.base)}</h2>'
        f"<p>{escape(target.headline())}</p>{_table_card(main)}"
        f'<div class="pair">{_figure(methods)}{sentences if target.sentences else ""}</div>'
        f'<div class="pair">{"".join(map(_figure, curves))}</div>{_figure(tasks)}'
        f"{''.join(map(_folded_table, further))}</section>\n"
    )


def _figure(drawing: Drawing) -> str:
    return (
        f'<figure class="card">{to_inline_svg(drawing)}'
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>\n"
    )


def _table_card(table: Table) -> str:
    return f'<div class="card"><h3>{escape(table.title)}</h3>{_html_table(table)}</div>\n'


def _folded_table(table: Table) -> str:
    return f'<details class="card"><summary>{escape(table.title)}</summary>{_html_table(table)}</details>\n'


def _html_table(table: Table) -> str:
    def kind(place: int) -> str:
        return ' class="word"' if place < table.left else ""

    head = "".join(
        f'<th scope="col"{kind(place)}><button type="button">{escape(column)}</button></th>'
        for place, column in enumerate(table.columns)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind(place)}>{escape(cell)}</td>" for place, cell in enumerate(row))
        + "</tr>\n"
        for row in table.rows
    )
    reasons = _list(table.reasons, "reasons") if table.reasons else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>{reasons}"
    )


def _facts(findings: Findings) -> str:
    study = findings.study
    facts: dict[str, object] = {
        "study": ", ".join(study.names) or DASH,
        "runs with results": str(len({run.key for run in study.runs})),
        "tasks": ", ".join(sorted({task for run in study.runs for task in run.tasks})),
        "prompt set": ", ".join(study.prompt_sets),
        "device": ", ".join(study.devices),
        **findings.info.facts,
    }
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{_fact(value)}</dd>" for name, value in facts.items())
    hashes = "".join(
        f"<dt>{escape(task)}, {escape(split)}</dt><dd><code>{escape(value)}</code></dd>"
        for (task, split), value in sorted(study.eval_sets.items())
    )
    return (
        f'<div class="card"><dl>{pairs}</dl></div>'
        f'<details class="card"><summary>Evaluation sets (sha256)</summary><dl>{hashes}</dl></details>'
    )


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(
            f"{escape(str(name))}: <code>{escape(str(item))}</code>" for name, item in value.items()
        )
    if isinstance(value, list | tuple):
        return escape(", ".join(map(str, value)))
    return escape(str(value))


def _absent(findings: Findings) -> str:
    info = findings.info
    blocks = []
    if info.failed:
        blocks.append(f"<h3>Failed</h3>{_list([_with_cause(run) for run in info.failed])}")
    if info.missing:
        blocks.append(f"<h3>Not finished</h3>{_list([_with_cause(run) for run in info.missing])}")
    if not blocks:
        blocks.append("<p>No failed or missing run was reported for this study.</p>")
    return f'<div class="card">{"".join(blocks)}</div>'


def _with_cause(run: AbsentRun) -> str:
    cause = f": {run.cause}" if run.cause else ""
    return f"{run.describe()}{cause}" + (f" (log: {run.log})" if run.log else "")


def _list(items: Iterable[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<ul{attribute}>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _anchor(base: str) -> str:
    return "base-" + "".join(letter if letter.isalnum() else "-" for letter in base)
