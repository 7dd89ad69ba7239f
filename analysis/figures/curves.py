"""Figures of data efficiency: a metric against rows per task, training operations or training time."""

from collections.abc import Sequence
from itertools import pairwise
from math import floor, log10

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.figure import METRIC_LABELS, WIDTH_IN, Drawing, draw_level, list_points, state_spread
from analysis.figures.style import INK, RC, Mark, mark_variants
from analysis.stats.curves import Curve, CurveSet

_TIGHT_LOG_STEP = 0.11
"""Neighbouring ticks nearer than this share of the axis get slanted labels."""
_MIN_TICKS = 3
_FILE_NAMES = {"size": "curve", "train_flops": "curve-flops", "wall_s": "curve-time"}
_AGAINST = {
    "size": "calibration rows per task",
    "train_flops": "the training operations of a run",
    "wall_s": "the training time of a run",
}
_UNITS = {
    "size": ((1.0, "calibration rows per task"),),
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
_COST_NOTE = " A run's own training: the joint training that a port starts from is not part of it."


def draw_curves(whole: CurveSet, axis: str, slug: str) -> Drawing | None:
    """Rolling means as lines over raw means with seed bands; stars where the LoRA's peak is first reached.

    `axis` is one of curves.AXES; None when no curve has it.
    """
    curves = whole.on_axis(axis)
    if curves is None:
        return None
    marks = mark_variants(curve.variant for curve in curves.curves)
    scale, label = _unit(axis, max(max(_along(curve, axis)) for curve in curves.curves))
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.9), layout="constrained")
        drawing = Drawing(
            f"{_FILE_NAMES[axis]}-{curves.metric.replace('_', '-')}-{slug}",
            f"{_caption(curves, axis)}{_left_out(whole, curves)}",
            _alternative(curves, axis),
            figure,
        )
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for curve in curves.curves:
            places = [place / scale for place in _along(curve, axis)]
            _draw_curve(axes, drawing, curve, places, marks[curve.variant])
        handles: list[Artist] = [_handle(marks[curve.variant]) for curve in curves.curves]
        names = [marks[curve.variant].name for curve in curves.curves]
        for value, linestyle, name in (
            (curves.frozen_base, "--", "frozen base"),
            (curves.peak, ":", "per-task LoRA's peak"),
        ):
            if value is not None:
                handles.append(draw_level(axes, drawing, value, name, linestyle=linestyle, zorder=1))
                names.append(name)
        ticks = [float(size) for size in curves.sizes] if axis == "size" else _round_ticks(*axes.get_xlim())
        _label_ticks(axes, ticks)
        axes.set_xlabel(f"{label}, log scale")
        axes.set_ylabel(METRIC_LABELS[curves.metric].split(",")[0])
        axes.grid(axis="y")
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


def _subject(curves: CurveSet, axis: str) -> str:
    """`Accuracy on big against the training time of a run`."""
    measure = "Accuracy" if curves.metric == "acc" else "Log-loss"
    return f"{measure} on {curves.base} against {_AGAINST[axis]}"


def _caption(curves: CurveSet, axis: str) -> str:
    return (
        f"{_subject(curves, axis)}, final epoch. Lines: mean over three neighbouring sizes. Open markers and "
        "bands: mean and standard deviation over seeds. Stars: first size to reach the per-task LoRA's peak."
        f"{'' if axis == 'size' else _COST_NOTE}"
    )


def _left_out(whole: CurveSet, drawn: CurveSet) -> str:
    """The curves that are not in the figure, by name, and why."""
    names = [curve.variant.label for curve in whole.curves if curve not in drawn.curves]
    return f" Not drawn, for want of their cost: {', '.join(names)}." if names else ""


def _along(curve: Curve, axis: str) -> tuple[float, ...]:
    places = curve.along(axis)
    assert places is not None, f"a cost of {curve.variant} is unknown"
    return places


def _unit(axis: str, largest: float) -> tuple[float, str]:
    return next((unit for unit in _UNITS[axis] if largest >= unit[0]), _UNITS[axis][-1])


def _draw_curve(axes: Axes, drawing: Drawing, curve: Curve, places: Sequence[float], mark: Mark) -> None:
    means = [point.known for point in curve.points]
    stds = [point.std or 0.0 for point in curve.points]
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    axes.fill_between(places, low, high, color=mark.colour, alpha=0.15, linewidth=0)
    axes.plot(places, curve.rolling, color=mark.colour)
    for place, size, point, rolled in zip(places, curve.sizes, curve.points, curve.rolling, strict=True):
        tip = drawing.tip(
            f"{mark.name}, {size} rows: {state_spread(point.mean, point.std)} (n = {point.n}); "
            f"rolling mean {rolled:.3f}"
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


def _handle(mark: Mark) -> Line2D:
    """A line with the open marker of its raw means: colour alone does not tell curves apart."""
    return Line2D([], [], color=mark.colour, marker=mark.marker, markersize=6, markerfacecolor="none")


def _round_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between the ends; more where those are too few."""
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    for steps in ((1, 10), (1, 2, 5), range(1, 10), [1 + tenth / 10 for tenth in range(90)]):
        ticks = sorted({round(step * 10.0**power, 12) for power in powers for step in steps})
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= _MIN_TICKS:
            break
    return inside


def _label_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    """These ticks and no others, slanted where neighbours would touch."""
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:,.0f}" if tick >= 1000 else f"{tick:g}" for tick in ticks])
    low, high = axes.transData.transform([(end, 0) for end in axes.get_xlim()])[:, 0]
    places = axes.transData.transform([(tick, 0) for tick in ticks])[:, 0]
    steps = [(right - left) / (high - low) for left, right in pairwise(places)]
    if steps and min(steps) < _TIGHT_LOG_STEP:
        for label in axes.get_xticklabels():
            label.set(rotation=60, horizontalalignment="right", rotation_mode="anchor")


def _alternative(curves: CurveSet, axis: str) -> str:
    ends = [
        f"{curve.variant.label} from {curve.points[0].mean:.3f} at {curve.sizes[0]} rows "
        f"to {curve.points[-1].mean:.3f} at {curve.sizes[-1]}"
        for curve in curves.curves
    ]
    return f"{_subject(curves, axis)}. {list_points(ends)}"
