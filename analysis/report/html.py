"""The report's page as one HTML text: style, script and figures inside, nothing fetched."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from analysis.figures.figure import Drawing
from analysis.figures.svg import colour_rules, to_inline_svg
from analysis.report.document import Block, Facts, Gallery, ReportDocument, Section, Tile
from analysis.tables.columns import COUNT
from analysis.tables.table import Table
from portal.results import Fact


def render_page(content: ReportDocument, *, refresh_s: int | None = None) -> str:
    """The whole page; with `refresh_s` it says that the study is running, and reloads so often."""
    titles = [section.title for section in content.sections]
    names = _told_apart([f"section-{_slug(title)}" for title in titles])
    anchors = dict(zip(titles, names, strict=True))
    links = [(anchor, title) for title, anchor in anchors.items()]
    links += [("ran", "What was run"), ("absent", "Failed or missing"), ("notes", "Notes")]
    nav = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in links)
    style = files("analysis.report").joinpath("page.css").read_text(encoding="utf-8")
    script = files("analysis.report").joinpath("page.js").read_text(encoding="utf-8")
    palette = (
        f":root{{{colour_rules(dark=False)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{colour_rules(dark=True)}}}}}"
    )
    live = "" if refresh_s is None else f' data-refresh-s="{refresh_s}"'
    banner = (
        ""
        if refresh_s is None
        else '<p class="live" role="status">The study is running: this page loads itself anew every '
        f"{refresh_s} s.</p>"
    )
    facts = "".join(_facts(each, len(content.facts)) for each in content.facts)
    return (
        f'<!doctype html>\n<html lang="en"{live}>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(content.title)}</title>\n<style>\n{palette}\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(content.title)}</h1>\n{banner}"
        f'<p class="quiet">{escape(content.lead)}</p>'
        f'<nav aria-label="Sections">{nav}</nav></header>\n<main>\n'
        f'<div class="tiles">{"".join(map(_tile, content.tiles))}</div>\n'
        f"{''.join(_section(section, anchors[section.title]) for section in content.sections)}"
        f'<section id="ran"><h2>What was run</h2>{facts}</section>\n'
        f'<section id="absent"><h2>Failed or missing</h2>{_absent(content.absent)}</section>\n'
        f'<section id="notes"><h2>Notes</h2><div class="card">{_list(content.notes)}</div></section>\n'
        "</main>\n<footer>Beside this page: tables.md, tables.tex, every table as CSV in tables/, and every "
        f"figure as PNG, SVG and PDF.</footer>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _tile(tile: Tile) -> str:
    return (
        f'<div class="tile"><div class="number">{escape(tile.number)}</div>'
        f"<p><b>{escape(tile.title)}</b></p>"
        f'<p class="quiet">{escape(tile.text)}</p></div>'
    )


def _section(section: Section, anchor: str) -> str:
    lead = f"<p>{escape(section.lead)}</p>" if section.lead else ""
    return (
        f'<section id="{anchor}"><h2>{escape(section.title)}</h2>{lead}'
        f"{''.join(map(_block, section.blocks))}</section>\n"
    )


def _block(block: Block) -> str:
    title = f'<h3 class="part">{escape(block.title)}</h3>' if block.title else ""
    lead = _list(block.lead) if block.lead else ""
    figures = [_figure(drawing, ' class="card"') for drawing in block.drawings]
    if block.remarks:
        remarks = (
            f'<div class="card"><h3>What can be told apart on these tasks</h3>{_list(block.remarks)}</div>'
        )
        first, *others = figures
        stacks = ([first, remarks], others) if others else ([first], [remarks])
        figures = [f'<div class="stack">{"".join(stack)}</div>' for stack in stacks]
    pair = f'<div class="pair">{"".join(figures)}</div>' if figures else ""
    tables = "".join(map(_table_card, block.tables))
    folded = "".join((*map(_folded_table, block.folded), *map(_gallery, block.galleries)))
    return f"{title}{lead}{tables}{pair}{folded}"


def _figure(drawing: Drawing, attribute: str = "") -> str:
    return (
        f"<figure{attribute}>{to_inline_svg(drawing)}"
        f"<figcaption>{escape(drawing.caption)}</figcaption></figure>\n"
    )


def _table_card(table: Table) -> str:
    return f'<div class="card" id="{_place_of(table)}"><h3>{_headed(table)}</h3>{_html_table(table)}</div>\n'


def _folded_table(table: Table) -> str:
    return (
        f'<details class="card" id="{_place_of(table)}"><summary>{_headed(table)}</summary>'
        f"{_html_table(table)}</details>\n"
    )


def _headed(table: Table) -> str:
    """The title with a link to the table."""
    link = f'<a class="link" href="#{_place_of(table)}" aria-label="Link to this table">#</a>'
    return f"{escape(table.title)} {link}"


def _place_of(table: Table) -> str:
    """The table's name in links, which stays when other tables come and go."""
    return f"table-{_slug(table.slug)}"


def _row_places(table: Table) -> list[str]:
    """The rows' names in links: what they are about, not where they stand.

    That is their words, with as many of their whole numbers as tell them apart.
    """
    words = [place for place, column in enumerate(table.columns) if column.kind.is_word]
    numbers = [place for place, column in enumerate(table.columns) if column.kind is COUNT]
    names: list[str] = []
    for count in range(len(numbers) + 1):
        chosen = [*words, *numbers[:count]]
        names = [_slug(" ".join(row[place] for place in chosen)) for row in table.texts]
        if len({*names}) == len(names):
            break
    return [f"{_place_of(table)}:{name}" for name in _told_apart(names)]


def _told_apart(names: Iterable[str]) -> list[str]:
    """The names, with a number behind the second and further ones of a kind."""
    seen: dict[str, int] = {}
    apart = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        apart.append(f"{name}-{seen[name]}" if seen[name] > 1 else name)
    return apart


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _gallery(gallery: Gallery) -> str:
    figures = "".join(map(_figure, gallery.drawings))
    return (
        f'<details class="card"><summary>{escape(gallery.title)}</summary>'
        f'<div class="pair">{figures}</div></details>\n'
    )


def _html_table(table: Table) -> str:
    kinds = [' class="word"' if column.kind.is_word else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(name).replace(" %", "&nbsp;%")}</button></th>'
        for name, kind in zip(table.names, kinds, strict=True)
    )
    lines = [
        f'<tr id="{place}">'
        + "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>\n"
        for place, row in zip(_row_places(table), table.texts, strict=True)
    ]
    sorted_to = len(lines) - table.footer
    body, foot = "".join(lines[:sorted_to]), "".join(lines[sorted_to:])
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    reasons = _list(table.reasons, "reasons") if table.reasons else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.title)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>{foot}</table></div>"
        f'<p class="quiet more" hidden>More columns: scroll sideways.</p>{reasons}'
    )


def _facts(facts: Facts, number: int) -> str:
    title = f"<h3>{escape(facts.title)}</h3>" if number > 1 else ""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{_fact(value)}</dd>" for name, value in facts.facts.items())
    hashes = "".join(
        f"<dt>{escape(task)}, {escape(split)}</dt><dd><code>{escape(value)}</code></dd>"
        for (task, split), value in sorted(facts.eval_sets.items())
    )
    return (
        f'<div class="card">{title}<dl>{pairs}</dl></div>'
        f'<details class="card"><summary>Evaluation sets (sha256)</summary><dl>{hashes}</dl></details>'
    )


def _fact(value: Fact) -> str:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, tuple):
        return escape(", ".join(value))
    return "<br>".join(f"{escape(name)}: <code>{escape(item)}</code>" for name, item in value.items())


def _absent(absent: Mapping[str, tuple[str, ...]]) -> str:
    blocks = [f"<h3>{escape(heading)}</h3>{_list(runs)}" for heading, runs in absent.items()]
    if not blocks:
        blocks.append("<p>No failed or missing run was reported for this study.</p>")
    return f'<div class="card">{"".join(blocks)}</div>'


def _list(items: Iterable[str], kind: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f"<ul{attribute}>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
