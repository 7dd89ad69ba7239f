"""Figures of data efficiency, and `LineChart`, a light one over steps or epochs for pages of many runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import floor, log10, sqrt

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.figure import (
    GRID,
    INK,
    MUTED,
    RC,
    SERIES,
    WIDTH_IN,
    Drawing,
    Mark,
    colour_variable,
    draw_level,
    label_ticks,
    legend_columns,
    legend_height,
    list_points,
    mark_variants,
    metric_label,
    state_spread,
)
from analysis.stats.bootstrap import LEVEL
from analysis.stats.curves import WINDOW, Curve, CurveSet
from analysis.stats.result_table import score_word

_MIN_TICKS = 3
_PLOT_IN = 3.1
"""Height of a figure without its legend."""
_MOST_CURVES = 6
_MOST_FULL_BANDS = 3
_BAND, _FAINT_BAND = 0.15, 0.07
"""Opacity of the bands, and where more than _MOST_FULL_BANDS of them lie on each other."""
_FILE_NAMES = {"size": "curve", "rows": "curve-rows", "train_flops": "curve-flops", "wall_s": "curve-time"}
_AGAINST = {
    "size": "calibration rows per task",
    "rows": "the rows of all tasks",
    "train_flops": "the training operations of a run",
    "wall_s": "the training time of a run",
}
_UNITS = {
    "size": ((1.0, "calibration rows per task"),),
    "rows": ((1.0, "rows of all tasks that a run uses"),),
    "train_flops": (
        (1e18, "training of a run (EFLOP)"),
        (1e15, "training of a run (PFLOP)"),
        (1e12, "training of a run (TFLOP)"),
        (1e9, "training of a run (GFLOP)"),
        (1.0, "training of a run (FLOP)"),
    ),
    "wall_s": (
        (3600.0, "training of a run (hours)"),
        (60.0, "training of a run (minutes)"),
        (1.0, "training of a run (s)"),
    ),
}
"""By axis, units from the largest; the first that some point reaches is used."""
_NOTES = {
    "size": "",
    "rows": " Rows of validation count where a run chose its epoch on them.",
    "train_flops": " A run's own training: the joint training that a port starts from is not part of it.",
    "wall_s": " A run's own training: the joint training that a port starts from is not part of it.",
}


def draw_curves(whole: CurveSet, axis: str, slug: str) -> Drawing | None:
    """Means with their bands, rolling where sizes are many; stars where the LoRA's peak is first reached.

    `axis` is one of curves.AXES; None when no curve has it, and for the rows of all tasks where they are the
    same multiple of the rows per task everywhere.
    """
    roomy = _uncrowded(whole)
    curves = roomy.on_axis(axis)
    if curves is None or (axis == "rows" and not curves.rows_differ):
        return None
    marks = mark_variants(curve.variant for curve in roomy.curves)  # the same along every axis
    scale, label = _unit(axis, max(max(_along(curve, axis)) for curve in curves.curves))
    levels = [(curves.frozen_base, "--", "frozen base"), (curves.peak, ":", "per-task LoRA's peak")]
    names = [marks[curve.variant].name for curve in curves.curves]
    names += [name for value, _, name in levels if value is not None]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, _PLOT_IN + legend_height(names)), layout="constrained")
        drawing = Drawing(
            f"{_FILE_NAMES[axis]}-{curves.metric.replace('_', '-')}-{slug}",
            f"{_caption(curves, axis)}{_left_out(whole, curves, axis)}",
            _alternative(curves, axis),
            figure,
        )
        axes = figure.add_subplot()
        axes.set_xscale("log")
        alpha = _BAND if len(curves.curves) <= _MOST_FULL_BANDS else _FAINT_BAND
        handles: list[Artist] = []
        for curve in curves.curves:
            places = [place / scale for place in _along(curve, axis)]
            mark = marks[curve.variant]
            _draw_curve(axes, drawing, curve, places, mark, alpha, has_intervals=curves.has_intervals)
            handles.append(_handle(marks[curve.variant]))
        for value, linestyle, name in levels:
            if value is not None:
                handles.append(draw_level(axes, drawing, value, name, linestyle=linestyle, zorder=1))
        ticks = [float(size) for size in curves.sizes] if axis == "size" else _round_ticks(*axes.get_xlim())
        label_ticks(axes, ticks)
        axes.set_xlabel(f"{label}, log scale")
        axes.set_ylabel(metric_label(curves.metric, curves.score_name))
        axes.grid(axis="y")
        figure.legend(handles, names, loc="outside upper left", ncols=legend_columns(names))
    return drawing


def _uncrowded(curves: CurveSet) -> CurveSet:
    """Without controls of ports where there are more than _MOST_CURVES, unless nothing else is there."""
    own = tuple(curve for curve in curves.curves if not curve.variant.spec.is_control)
    is_crowded = len(curves.curves) > _MOST_CURVES and own
    return replace(curves, curves=own) if is_crowded else curves


def _subject(curves: CurveSet, axis: str) -> str:
    """`Accuracy on big against the training time of a run`."""
    measure = score_word(curves.score_name).capitalize() if curves.metric == "acc" else "Log-loss"
    return f"{measure} on {curves.base} against {_AGAINST[axis]}"


def _caption(curves: CurveSet, axis: str) -> str:
    band = f"{100 * LEVEL:.0f} % interval" if curves.has_intervals else "standard deviation over seeds"
    smoothed = any(curve.is_smoothed for curve in curves.curves)
    lines = f" Lines: mean over {WINDOW} neighbouring sizes." if smoothed else ""
    return (
        f"{_subject(curves, axis)}, at the epoch that a run keeps.{lines} Open markers and bands: mean over "
        f"seeds and its {band}. Stars: first size to reach the per-task LoRA's peak.{_NOTES[axis]}"
    )


def _left_out(whole: CurveSet, drawn: CurveSet, axis: str) -> str:
    """What is not in the figure, and why."""
    absent = [curve for curve in whole.curves if curve not in drawn.curves]
    is_crowded = any(curve.along(axis) is not None for curve in absent)
    costless = [curve.variant.label for curve in absent if not (is_crowded and curve.variant.spec.is_control)]
    note = f" Not drawn, for want of their cost: {', '.join(costless)}." if costless else ""
    return note + (
        " Not drawn, for want of room: controls of ports; the table has them." if is_crowded else ""
    )


def _along(curve: Curve, axis: str) -> tuple[float, ...]:
    places = curve.along(axis)
    assert places is not None, f"a cost of {curve.variant} is unknown"
    return places


def _unit(axis: str, largest: float) -> tuple[float, str]:
    return next((unit for unit in _UNITS[axis] if largest >= unit[0]), _UNITS[axis][-1])


def _draw_curve(
    axes: Axes,
    drawing: Drawing,
    curve: Curve,
    places: Sequence[float],
    mark: Mark,
    alpha: float,
    *,
    has_intervals: bool,
) -> None:
    low, high = zip(*_bands(curve, has_intervals=has_intervals), strict=True)
    axes.fill_between(places, low, high, color=mark.colour, alpha=alpha, linewidth=0)
    axes.plot(places, curve.rolling, color=mark.colour)
    drawn = zip(places, curve.sizes, curve.points, curve.rolling, curve.point_intervals, strict=True)
    for place, size, point, rolled, interval in drawn:
        smoothed = f"; rolling mean {rolled:.3f}" if curve.is_smoothed else ""
        if interval is not None and interval.low is not None:
            smoothed += f"; {100 * LEVEL:.0f} % interval {interval.low:.3f} to {interval.high:.3f}"
        tip = drawing.tip(
            f"{mark.name}, {size} rows: {state_spread(point.mean, point.std)} (n = {point.n}){smoothed}"
        )
        axes.plot(
            place, point.known, mark.marker, markerfacecolor="none", markeredgecolor=mark.colour,
            markersize=6, gid=tip,
        )  # fmt: skip
    if curve.star is not None:
        at = curve.sizes.index(curve.star)
        tip = drawing.tip(f"{mark.name} first reaches the per-task LoRA's peak at {curve.star} rows")
        axes.plot(
            places[at], curve.rolling[at], "*", color=mark.colour, markersize=15, markeredgecolor=INK,
            zorder=5, gid=tip,
        )  # fmt: skip


def _bands(curve: Curve, *, has_intervals: bool) -> list[tuple[float, float]]:
    """The interval of every point, or its mean where it has none; else the mean and its seed std."""
    bands = []
    for point, interval in zip(curve.points, curve.point_intervals, strict=True):
        if interval is not None and interval.low is not None and interval.high is not None:
            bands.append((interval.low, interval.high))
        else:
            std = 0.0 if has_intervals else point.std or 0.0
            bands.append((point.known - std, point.known + std))
    return bands


def _handle(mark: Mark) -> Line2D:
    """A line with the open marker of its raw means: colour alone does not tell curves apart."""
    return Line2D([], [], color=mark.colour, marker=mark.marker, markersize=6, markerfacecolor="none")


def _round_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the ends; more where those are too few, at least the middle."""
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    for steps in ((1, 10), (1, 2, 5), range(1, 10), [1 + tenth / 10 for tenth in range(90)]):
        ticks = sorted({round(step * 10.0**power, 12) for power in powers for step in steps})
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= _MIN_TICKS:
            break
    return inside or [float(f"{sqrt(low * high):.4g}")]


def _alternative(curves: CurveSet, axis: str) -> str:
    ends = [
        f"{curve.variant.label} from {curve.points[0].mean:.3f} at {curve.sizes[0]} rows "
        f"to {curve.points[-1].mean:.3f} at {curve.sizes[-1]}"
        for curve in curves.curves
    ]
    return f"{_subject(curves, axis)}. {list_points(ends)}"


_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 40
_MOST_TICKS, _MOST_TIPS = 5, 60


@dataclass(frozen=True)
class Line:
    """A named line through (x, y) points, by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class LineChart:
    """Lines with one x and one y axis. `alt` is the text alternative."""

    lines: tuple[Line, ...]
    x_label: str
    y_label: str
    caption: str
    alt: str

    def to_svg(self) -> str:
        """An `<svg>` element in the page's colours; points show their values, of long lines some."""
        points = [point for line in self.lines for point in line.points]
        x_ticks, y_ticks = _ticks([x for x, _ in points]), _ticks([y for _, y in points], around=True)
        (x_low, x_high), (y_low, y_high) = _span(points, 0, x_ticks), _span(points, 1, y_ticks)

        def place(x: float, y: float) -> tuple[float, float]:
            across = (x - x_low) / (x_high - x_low)
            up = (y - y_low) / (y_high - y_low)
            return (
                round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
                round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
            )

        parts = []
        for tick in y_ticks:
            x, y = place(x_low, tick)
            parts.append(f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="{_ink(GRID)}"/>')
            parts.append(_text(x - 6, y + 4, f"{tick:g}", "end"))
        for tick in x_ticks:
            x, _ = place(tick, y_low)
            anchor = "end" if x > _WIDTH - 2 * _RIGHT else "middle"
            parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{tick:,.10g}", anchor))
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, self.x_label, "middle"))
        parts.append(_text(4, 14, self.y_label, "start"))
        axis = f"M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"
        parts.append(f'<path d="{axis}" stroke="{_ink(MUTED)}"/>')
        for (colour, _), line in zip(SERIES, self.lines, strict=False):
            parts.append(_line(line, colour, place))
        parts += self._legend()
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.alt)}" '
            f'font-size="12" fill="none">{"".join(parts)}</svg>'
        )

    def _legend(self) -> list[str]:
        """The names at the upper right, where there are several."""
        if len(self.lines) < 2:
            return []
        parts, right = [], _WIDTH - _RIGHT
        for (colour, _), line in reversed(list(zip(SERIES, self.lines, strict=False))):
            parts.append(_text(right, 14, line.name, "end", colour))
            right -= 7 * len(line.name) + 14
        return parts


def _line(line: Line, colour: str, place: Callable[[float, float], tuple[float, float]]) -> str:
    places = [place(x, y) for x, y in line.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    drawn = f'<path d="{path}" stroke="{_ink(colour)}" stroke-width="1.8"/>'
    every = -(-len(line.points) // _MOST_TIPS)
    return drawn + "".join(
        f'<circle class="tip" cx="{x}" cy="{y}" r="3" fill="{_ink(colour)}">'
        f"<title>{escape(line.name)}, {value_x:g}: {value_y:.4g}</title></circle>"
        for (x, y), (value_x, value_y) in list(zip(places, line.points, strict=True))[::every]
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{_ink(colour)}">{escape(text)}</text>'


def _ink(colour: str) -> str:
    return f"var({colour_variable(colour)})"


def _span(points: Sequence[tuple[float, float]], axis: int, ticks: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: those of the points and the ticks, never the same."""
    values = [*(point[axis] for point in points), *ticks]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(values: Sequence[float], *, around: bool = False) -> list[float]:
    """About _MOST_TICKS round numbers within the values, or from below the least to above the greatest."""
    low, high = min(values), max(values)
    if high <= low:
        return [low]
    rough = max((high - low) / _MOST_TICKS, 1e-6 * max(abs(low), abs(high)), 0 if around else 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    if around:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    else:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]
