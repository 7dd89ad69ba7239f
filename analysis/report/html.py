"""`ReportDocument`: a report's content, and the page that shows it: one HTML text, nothing fetched."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from analysis.figures.curves import LineChart
from analysis.figures.figure import Drawing, colour_rules, to_inline_svg
from analysis.tables.table import COUNT, Kind, Table
from portal.results import Fact


@dataclass(frozen=True)
class ReportOptions:
    """Choices about a report.

    price      price of one device-hour, in the reader's currency: adds costs to the tables
    refresh_s  seconds after which the page loads itself anew; it then says that the study is running
    title      title of the page; by default "PorTAL: " and the names of the studies
    """

    price: float | None = None
    refresh_s: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Tile:
    """A headline figure."""

    number: str
    title: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Drawings that are folded away under a title."""

    title: str
    drawings: tuple[Drawing, ...]


MOST_OPEN_ROWS = 12
"""Longer tables are folded where figures show what they say."""


@dataclass(frozen=True)
class Block:
    """A part of a section: `lead` sentences, tables in the open, drawings, tables and drawings folded away.

    `remarks` are sentences that stand under the first drawing, `lines` those of a log.
    """

    title: str = ""
    lead: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    remarks: tuple[str, ...] = ()
    folded: tuple[Table, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    charts: tuple[LineChart, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """The blocks on one base, or on the whole study."""

    title: str
    blocks: tuple[Block, ...]
    lead: str = ""


@dataclass(frozen=True)
class Facts:
    """Facts on one study by name, and the hashes of evaluation sets."""

    title: str
    facts: Mapping[str, Fact]
    eval_sets: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class ReportDocument:
    """A whole report, or what one page of it shows.

    `absent` has a headed list of lines for runs that failed and runs not finished; None where that is not
    told. `links` are (address, text) of other pages.
    """

    title: str
    lead: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    facts: tuple[Facts, ...]
    facts_title: str = "What was run"
    absent: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    footer: str = (
        "Beside this page: tables.md, tables.tex, every table as CSV in tables/, and every figure as PNG, "
        "SVG and PDF."
    )
    links: tuple[tuple[str, str], ...] = ()

    @property
    def drawings(self) -> Iterator[Drawing]:
        blocks = (block for section in self.sections for block in section.blocks)
        return (
            drawing
            for block in blocks
            for drawings in (block.drawings, *(gallery.drawings for gallery in block.galleries))
            for drawing in drawings
        )

    @property
    def tables(self) -> Iterator[Table]:
        return (
            table
            for section in self.sections
            for block in section.blocks
            for table in (*block.tables, *block.folded)
        )

    def to_markdown(self) -> str:
        """The whole document but its drawings."""
        lines = [f"# {self.title}\n", f"{self.lead}\n"]
        lines += [f"- {tile.title}: {tile.number}. {tile.text}\n" for tile in self.tiles]
        for section in self.sections:
            lines.append(f"\n## {section.title}\n")
            lines.append(f"{section.lead}\n" if section.lead else "")
            for block in section.blocks:
                lines.append("".join(f"- {sentence}\n" for sentence in block.lead))
                lines += [table.to_markdown() for table in (*block.tables, *block.folded)]
                lines.append("".join(f"- {sentence}\n" for sentence in block.remarks))
        for heading, runs in (self.absent or {}).items():
            lines.append(f"## {heading}\n\n" + "".join(f"- {run}\n" for run in runs))
        lines.append("## Notes\n\n" + "".join(f"- {note}\n" for note in self.notes))
        return "\n".join(line for line in lines if line)


STYLE, SCRIPT = "page.css", "page.js"
"""What pages have in common, here and in the folder of pages that share them."""


def render_page(content: ReportDocument, *, refresh_s: int | None = None, assets: str | None = None) -> str:
    """The whole page; with `refresh_s` it says that the study is running, and reloads so often.

    Style and script are in the page itself, or with `assets` in STYLE and SCRIPT of that folder.
    """
    titles = [section.title for section in content.sections]
    names = _told_apart([f"section-{_slug(title)}" for title in titles])
    anchors = dict(zip(titles, names, strict=True))
    parts = [(anchors[each.title], each.title, _section(each)) for each in content.sections]
    if content.facts:
        facts = "".join(_facts(each, len(content.facts)) for each in content.facts)
        parts.append(("ran", content.facts_title, facts))
    if content.absent is not None:
        parts.append(("absent", "Failed or missing", _absent(content.absent)))
    if content.notes:
        parts.append(("notes", "Notes", f'<div class="card">{_list(content.notes)}</div>'))
    links = [*content.links, *((f"#{anchor}", title) for anchor, title, _ in parts)]
    nav = "".join(f'<a href="{escape(place)}">{escape(text)}</a>' for place, text in links)
    if assets is None:
        style = f"<style>\n{page_style()}</style>"
        script = f"<script>\n{page_script()}</script>"
    else:
        style = f'<link rel="stylesheet" href="{assets}/{STYLE}">'
        script = f'<script src="{assets}/{SCRIPT}"></script>'
    live = "" if refresh_s is None else f' data-refresh-s="{refresh_s}"'
    banner = (
        ""
        if refresh_s is None
        else '<p class="live" role="status">The study is running: this page loads itself anew every '
        f"{refresh_s} s.</p>"
    )
    tiles = f'<div class="tiles">{"".join(map(_tile, content.tiles))}</div>\n' if content.tiles else ""
    sections = "".join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>{body}</section>\n' for anchor, title, body in parts
    )
    return (
        f'<!doctype html>\n<html lang="en"{live}>\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(content.title)}</title>\n{style}\n</head>\n<body>\n"
        f"<header><h1>{escape(content.title)}</h1>\n{banner}"
        f'<p class="quiet">{escape(content.lead)}</p>'
        f'<nav aria-label="Sections">{nav}</nav></header>\n<main>\n{tiles}{sections}'
        f"</main>\n<footer>{escape(content.footer)}</footer>\n{script}\n</body>\n</html>\n"
    )


def page_style() -> str:
    """The style of every page, with the colours of figures."""
    palette = (
        f":root{{{colour_rules(dark=False)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{colour_rules(dark=True)}}}}}"
    )
    return palette + "\n" + files("analysis.report").joinpath(STYLE).read_text(encoding="utf-8")


def page_script() -> str:
    """The script of every page."""
    return files("analysis.report").joinpath(SCRIPT).read_text(encoding="utf-8")


def _tile(tile: Tile) -> str:
    return (
        f'<div class="tile"><div class="number">{escape(tile.number)}</div>'
        f"<p><b>{escape(tile.title)}</b></p>"
        f'<p class="quiet">{escape(tile.text)}</p></div>'
    )


def _section(section: Section) -> str:
    lead = f"<p>{escape(section.lead)}</p>" if section.lead else ""
    return f"{lead}{''.join(map(_block, section.blocks))}"


def _block(block: Block) -> str:
    title = f'<h3 class="part">{escape(block.title)}</h3>' if block.title else ""
    lead = _list(block.lead) if block.lead else ""
    figures = [
        *(_figure(drawing, ' class="card"') for drawing in block.drawings),
        *(_captioned(chart.to_svg(), chart.caption, ' class="card"') for chart in block.charts),
    ]
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
    lines = f'<pre class="card">{escape(chr(10).join(block.lines))}</pre>' if block.lines else ""
    return f"{title}{lead}{tables}{pair}{folded}{lines}"


def _figure(drawing: Drawing, attribute: str = "") -> str:
    return _captioned(to_inline_svg(drawing), drawing.caption, attribute)


def _captioned(svg: str, caption: str, attribute: str) -> str:
    return f"<figure{attribute}>{svg}<figcaption>{escape(caption)}</figcaption></figure>\n"


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

    That is the words that name them, with as many of their whole numbers as tell them apart.
    """
    kinds = [column.kind for column in table.columns]
    words = [place for place, kind in enumerate(kinds) if kind.names]
    numbers = [place for place, kind in enumerate(kinds) if kind is COUNT]
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
    apart: dict[str, None] = {}
    for name in names:
        own = name
        while own in apart:
            seen[name] = seen.get(name, 1) + 1
            own = f"{name}-{seen[name]}"
        apart[own] = None
    return list(apart)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+|_+", "-", text.lower()).strip("-")


def _gallery(gallery: Gallery) -> str:
    figures = "".join(map(_figure, gallery.drawings))
    return (
        f'<details class="card"><summary>{escape(gallery.title)}</summary>'
        f'<div class="pair">{figures}</div></details>\n'
    )


def _html_table(table: Table) -> str:
    kinds = [_class_of(column.kind) for column in table.columns]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(name).replace(" %", "&nbsp;%")}</button></th>'
        for name, kind in zip(table.names, kinds, strict=True)
    )
    lines = [
        f'<tr id="{place}">'
        + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(_cells(table, number), kinds, strict=True))
        + "</tr>\n"
        for number, place in enumerate(_row_places(table))
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


def _class_of(kind: Kind) -> str:
    return ' class="word text"' if kind.wraps else ' class="word"' if kind.is_word else ""


def _cells(table: Table, number: int) -> list[str]:
    """The cells of a row, with their links."""
    return [
        f'<a href="{escape(table.links[name][number])}">{escape(text)}</a>'
        if name in table.links
        else escape(text)
        for name, text in zip(table.names, table.texts[number], strict=True)
    ]


def _facts(facts: Facts, number: int) -> str:
    title = f"<h3>{escape(facts.title)}</h3>" if number > 1 else ""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{_fact(value)}</dd>" for name, value in facts.facts.items())
    hashes = "".join(
        f"<dt>{escape(task)}, {escape(split)}</dt><dd><code>{escape(value)}</code></dd>"
        for (task, split), value in sorted(facts.eval_sets.items())
    )
    return (
        f'<div class="card">{title}<dl>{pairs}</dl></div>'
        + f'<details class="card"><summary>Evaluation sets (sha256)</summary><dl>{hashes}</dl></details>'
        * bool(hashes)
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
