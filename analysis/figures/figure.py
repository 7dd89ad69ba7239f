"""`Drawing`: a figure with caption, text alternative and values under the pointer; its colours, and its SVG.

Colours are safe for colour-blind readers, each with a light and a dark value.
"""

import io
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.stats.bootstrap import LEVEL, Interval
from analysis.stats.result_table import MethodKey
from portal.methods import find_method
from portal.storage.atomic import write_bytes_atomic

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


WIDTH_IN = 4.6
_CHAR_IN, _GAP_IN = 0.085, 0.07
"""Width of a character of a tick's label, and what is left free between two labels."""
NAME_CHARS = 22
"""Characters of a method's name on one line of a figure; a longer name takes two lines."""
LEGEND_ROW_IN = 0.21
_LEGEND_CHARS = 50
"""Characters of both columns of a legend that fit beside their marks; longer names take one column."""
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Fields that matplotlib would fill with the day and its version: the same data give the same bytes."""


def metric_label(metric: str, score_name: str) -> str:
    """The name of an axis along `acc` or `log_loss`; `score_name` is what accuracy is."""
    return "log-loss (nats per token)" if metric == "log_loss" else f"{score_name} on test rows"


@dataclass
class Drawing:
    """A figure with its file name, caption, text alternative and, by SVG id, the texts under the pointer."""

    name: str
    caption: str
    alt: str
    figure: Figure
    tips: dict[str, str] = field(default_factory=dict)

    def tip(self, text: str) -> str:
        """A new SVG id that carries `text`."""
        key = f"tip-{len(self.tips)}"
        self.tips[key] = text
        return key

    def save(self, folder: Path) -> list[Path]:
        """Writes NAME.png, NAME.svg and NAME.pdf under `folder`, whole, the same bytes for the same data."""
        paths = []
        for suffix, metadata in _METADATA.items():
            path, buffer = folder / f"{self.name}.{suffix}", io.BytesIO()
            with matplotlib.rc_context(RC):
                self.figure.savefig(buffer, format=suffix, dpi=180, facecolor="white", metadata=metadata)
            write_bytes_atomic(path, buffer.getvalue())
            paths.append(path)
        return paths


def legend_handle(axes: Axes, mark: Mark, *, linestyle: str) -> Line2D:
    """The mark as an entry of a legend."""
    (handle,) = axes.plot([], [], mark.marker, color=mark.colour, markersize=7.5, linestyle=linestyle)
    return handle


def legend_columns(names: Sequence[str]) -> int:
    """Two columns of a legend where the longest names of both fit side by side, else one."""
    half = (len(names) + 1) // 2
    longest = [max(map(len, some), default=0) for some in (names[:half], names[half:])]
    return 2 if sum(longest) <= _LEGEND_CHARS else 1


def legend_height(names: Sequence[str]) -> float:
    """The height of that legend in inches."""
    return LEGEND_ROW_IN * -(-len(names) // legend_columns(names))


def label_rows(
    axes: Axes, names: Sequence[str], x_label: str, *, headroom: float, grid: Literal["x", "both"] = "x"
) -> None:
    """Name the rows of a dot plot from below and its x axis; `headroom` is cut off above the last row + 1."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - headroom)
    axes.set_xlabel(x_label)
    axes.grid(axis=grid)
    axes.tick_params(axis="y", length=0)


def label_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """These ticks on the x axis and no others, slanted where neighbours would touch."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    texts = [f"{tick:,.0f}" if tick >= 1000 else f"{tick:g}" for tick in ticks]
    axes.set_xticklabels(texts)
    figure = axes.get_figure(root=True)
    assert figure is not None
    places = axes.transData.transform([(tick, 0) for tick in ticks])[:, 0] / figure.dpi
    rooms = [
        right - left - (len(first) + len(second)) / 2 * _CHAR_IN
        for (left, right), (first, second) in zip(pairwise(places), pairwise(texts), strict=True)
    ]
    if rooms and min(rooms) < _GAP_IN:
        for label in axes.get_xticklabels():
            label.set(rotation=60, horizontalalignment="right", rotation_mode="anchor")


def draw_level(
    axes: Axes, drawing: Drawing, value: float, name: str, *, linestyle: str, zorder: float
) -> Line2D:
    """A grey horizontal line at `value`, with its number under the pointer; its handle for a legend."""
    tip = drawing.tip(f"{name}: {value:.3f}")
    return axes.axhline(
        value, color=MUTED, linestyle=linestyle, linewidth=1.4, zorder=zorder, label=name, gid=tip
    )


def widen(axes: Axes, left: float, right: float) -> None:
    """Make room beside the data for markers and text at their right, in shares of the data's span."""
    low, high = axes.dataLim.intervalx
    span = max(high - low, 0.02)
    axes.set_xlim(low - left * span, high + right * span)


def state_spread(mean: float | None, std: float | None) -> str:
    """`0.792 ± 0.004`, as shown under the pointer."""
    assert mean is not None
    return f"{mean:.3f}" if std is None else f"{mean:.3f} \u00b1 {std:.3f}"


def band_limits(interval: Interval | None, mean: float) -> tuple[float, float]:
    """The ends of the interval of a point; its mean twice where there is none."""
    if interval is None or interval.low is None or interval.high is None:
        return mean, mean
    return interval.low, interval.high


def state_band(low: float, high: float) -> str:
    """` (95 % interval 0.792 to 0.811)`, as shown under the pointer; nothing where the ends are one."""
    return "" if low == high else f" ({100 * LEVEL:.0f} % interval {low:.3f} to {high:.3f})"


def list_points(points: Sequence[str]) -> str:
    """Points of a text alternative: `a; b.`"""
    return "; ".join(points) + "."


_SVG = "http://www.w3.org/2000/svg"
_FONT = "font-family: 'DejaVu Sans', sans-serif; "
_LONG_NUMBER = re.compile(r"-?[0-9]+\.[0-9]{3,}")
_AROUND_COMMAND = re.compile(r" ?([A-Za-z]) ?")
_REFERENCE = re.compile(r'href="#([^"]+)"|url\(#([^)]+)\)')
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def to_inline_svg(drawing: Drawing) -> str:
    """An `<svg>` element: ids unique to the drawing, palette colours as CSS variables, titled points.

    It is smaller than the file for publication: no names that nothing refers to, coordinates to a hundredth
    of a point, the font once.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(RC):
        drawing.figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    named = {name for pair in _REFERENCE.findall(buffer.getvalue()) for name in pair if name}
    _tidy(root, named, drawing)
    root.text = None
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": drawing.alt,
        "style": _FONT.rstrip("; "),
    }
    text = ElementTree.tostring(root, encoding="unicode")
    for colour in DARK_VALUES:
        text = text.replace(colour, f"var({colour_variable(colour)})")
    return text


def _tidy(node: ElementTree.Element, named: Container[str], drawing: Drawing) -> None:
    """Name, title and shorten what is below the node; groups that say nothing give way to their content."""
    children = []
    for child in node:
        _tidy(child, named, drawing)
        name = child.attrib.pop("id", None)
        if name in drawing.tips:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = drawing.tips[name]
            child.insert(0, title)
            child.attrib = {"class": "tip", **child.attrib}
        if name is not None and (name in drawing.tips or name in named):
            child.attrib = {"id": f"{drawing.name}-{name}", **child.attrib}
        for key, value in child.attrib.items():
            child.attrib[key] = _shortened(key, value, drawing)
        if child.attrib.get("transform", "").startswith("rotate(-0 "):
            del child.attrib["transform"]
        child.tail = None
        if child.text is not None and not child.text.strip():
            child.text = None
        children += list(child) if child.tag == f"{{{_SVG}}}g" and not child.attrib else [child]
    node[:] = children


def _shortened(key: str, value: str, drawing: Drawing) -> str:
    """The attribute with references to the drawing's own names, short numbers, and the font left out."""
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{drawing.name}-\1)", value)
    if key.endswith("href"):
        return re.sub(r"^#", f"#{drawing.name}-", value)
    if key == "style":
        return value.replace(_FONT, "").replace("; ", ";").replace(": ", ":")
    if key in ("d", "transform", "points", "x", "y", "width", "height"):
        short = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
        short = " ".join(short.split())
        return _AROUND_COMMAND.sub(r"\1", short) if key == "d" else short
    return value


def colour_variable(colour: str) -> str:
    """The CSS variable that holds a palette colour."""
    return f"--ink-{colour.removeprefix('#')}"


def colour_rules(*, dark: bool) -> str:
    """CSS declarations of all palette variables."""
    values = (f"{colour_variable(light)}:{night if dark else light}" for light, night in DARK_VALUES.items())
    return ";".join(values)
