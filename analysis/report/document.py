"""`ReportDocument`: a report's content before it is a page or Markdown: tiles, sections, facts, notes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from analysis.figures.figure import Drawing
from analysis.figures.line_chart import LineChart
from analysis.tables.table import Table
from portal.results import Fact


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
