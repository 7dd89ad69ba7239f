"""`Drawing`: a figure with its caption, a text alternative and the values shown under the pointer."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.style import MUTED, RC, Mark
from analysis.stats.bootstrap import LEVEL, Interval
from portal.storage.atomic import write_bytes_atomic

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
