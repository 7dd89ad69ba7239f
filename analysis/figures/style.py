"""Colours and markers of the figures: safe for colour-blind readers, each with a light and a dark value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from analysis.stats.result_table import MethodKey
from portal.methods import find_method

INK = "#1b1f24"
MUTED = "#6b7280"
GRID = "#d9dde3"
DARK_VALUES = {
    INK: "#e6e8eb",
    MUTED: "#9aa3ae",
    GRID: "#3a4048",
    "#0072b2": "#56b4e9",
    "#d55e00": "#f28a4b",
    "#009e73": "#3ccb9f",
    "#882255": "#e58bb3",
    "#7a6a00": "#d9c84a",
    "#332288": "#a99cf0",
}
"""Every colour a figure uses, with what it becomes on a dark page."""


@dataclass(frozen=True)
class Mark:
    """Colour, marker and name of a variant in every figure."""

    colour: str
    marker: str
    name: str


SERIES = (
    ("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#882255", "D"),
    ("#7a6a00", "v"), ("#332288", "P"), ("#0072b2", "X"), ("#d55e00", "<"),
    ("#009e73", ">"), ("#882255", "h"), ("#7a6a00", "p"), ("#332288", "8"),
)  # fmt: skip
"""Colour and marker of the curves of a figure whose curves are no methods."""
_FURTHER_MARKS = (
    ("#332288", "P"), ("#7a6a00", "X"), ("#882255", "p"), ("#009e73", "<"), ("#0072b2", ">"),
    ("#d55e00", "h"), ("#332288", "d"), ("#7a6a00", "8"),
)  # fmt: skip

RC: dict[str, Any] = {
    "svg.hashsalt": "portal",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}
"""matplotlib settings of every figure; the salt makes the ids of an SVG the same every time."""


def mark_variants(variants: Iterable[MethodKey]) -> dict[MethodKey, Mark]:
    """A mark for each variant: the method's own for its first variant, then further ones that none owns."""
    ordered = sorted(set(variants), key=MethodKey.sort_key)
    owned = {find_method(variant.method).mark for variant in ordered}
    free = [mark for mark in _FURTHER_MARKS if mark not in owned]
    further = iter(free * (1 + len(ordered)))
    taken: set[str] = set()
    marks = {}
    for variant in ordered:
        own = find_method(variant.method).mark if variant.method not in taken else None
        colour, marker = own or next(further)
        taken.add(variant.method)
        siblings = [other for other in ordered if other.method == variant.method]
        is_alone = len({other.label for other in siblings}) == len(siblings)
        name = variant.label if is_alone else f"{variant.label} {variant.settings}"
        marks[variant] = Mark(colour, marker, name)
    return marks
