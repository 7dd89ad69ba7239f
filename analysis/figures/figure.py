"""`Drawing`: a figure with its caption, a text alternative and the values that a pointer shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import RC, Mark

WIDTH_IN = 4.6
NAME_CHARS = 22
"""A longer name of a method stands on two lines."""
METRIC_LABELS = {
    "acc": "acc_norm on test rows, task mean",
    "log_loss": "log-loss (nats per token), task mean",
}
_METADATA: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would write of the day and of itself."""


@dataclass
class Drawing:
    """A figure with its file name, a caption, a text alternative and, by SVG id, what a pointer shows."""

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
            path = folder / f"{self.name}.{suffix}"
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            with matplotlib.rc_context(RC):
                self.figure.savefig(temporary, format=suffix, dpi=180, facecolor="white", metadata=metadata)
            temporary.replace(path)
            paths.append(path)
        return paths


def legend_handle(axes: Axes, mark: Mark, *, linestyle: str) -> Line2D:
    """What stands for a mark in a legend."""
    (handle,) = axes.plot([], [], mark.marker, color=mark.colour, markersize=7.5, linestyle=linestyle)
    return handle


def widen(axes: Axes, left: float, right: float) -> None:
    """Room beside the data for markers and the text at their right, in shares of the data's span."""
    low, high = axes.dataLim.intervalx
    span = max(high - low, 0.02)
    axes.set_xlim(low - left * span, high + right * span)


def state_spread(mean: float | None, std: float | None) -> str:
    """`0.792 ± 0.004`, for a pointer."""
    assert mean is not None
    return f"{mean:.3f}" if std is None else f"{mean:.3f} \u00b1 {std:.3f}"


def list_points(points: Sequence[str]) -> str:
    """Points of a text alternative: `a; b.`"""
    return "; ".join(points) + "."
