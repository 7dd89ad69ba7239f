"""The figure of accuracy on a base by method."""

from collections.abc import Sequence
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.figure import (
    NAME_CHARS,
    WIDTH_IN,
    Drawing,
    label_rows,
    list_points,
    metric_label,
    state_spread,
    widen,
)
from analysis.figures.style import INK, MUTED, RC, Mark, mark_variants
from analysis.stats.aggregate import Comparison, MethodSummary

_CHAR_IN, _VALUE_IN = 0.085, 1.2  # a character of a name, and a value with its std, as set by RC


def draw_methods(comparison: Comparison, slug: str) -> Drawing | None:
    """Every headline summary as a dot with its seed std, seeds as ticks, base and chance as lines.

    None where no summary has a score.
    """
    summaries = [summary for summary in comparison.headline_summaries if summary.acc.mean is not None]
    if not summaries:
        return None
    marks = mark_variants(summary.cell.variant for summary in summaries)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.15 + 0.42 * len(summaries)), layout="constrained")
        drawing = Drawing(
            f"methods-{slug}",
            f"{comparison.score_title} on {comparison.base} by method: mean and sample std over seeds, seeds "
            "as ticks. Dashed: the frozen base; dotted: chance.",
            _alt_methods(comparison, summaries),
            figure,
        )
        axes = figure.add_subplot()
        for place, summary in enumerate(summaries):
            _draw_method(axes, drawing, summary, marks[summary.cell.variant], place)
        names = [fill(marks[summary.cell.variant].name, NAME_CHARS) for summary in summaries]
        label_rows(axes, names, f"{metric_label('acc', comparison.score_name)}, task mean", headroom=0.2)
        _draw_references(axes, drawing, comparison)
        widen(axes, 0.04, _room_for_value(names))
        limits = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if tick <= 1]  # beyond is room for values only
        axes.set_xticks(_short_ticks(ticks))
        axes.set_xlim(*limits)
    return drawing


def _short_ticks(ticks: Sequence[float]) -> Sequence[float]:
    """Those with three decimals or fewer, if they are several: longer labels would touch."""
    short = [tick for tick in ticks if abs(tick - round(tick, 3)) < 1e-9]
    return short if len(short) > 1 else ticks


def _draw_method(axes: Axes, drawing: Drawing, summary: MethodSummary, mark: Mark, place: int) -> None:
    mean, std = summary.acc.mean, summary.acc.std
    assert mean is not None
    label = state_spread(mean, std)
    tip = drawing.tip(
        f"{mark.name}: {label}" + (f", n = {summary.acc.n}" if summary.seeds != (None,) else "")
    )
    for value in summary.acc.values if summary.acc.n > 1 else ():
        axes.plot(value, place - 0.27, "|", color=mark.colour, markersize=7, markeredgewidth=1.4)
    if std is not None:
        axes.plot([mean - std, mean + std], [place, place], color=mark.colour, linewidth=2.2)
    axes.plot(mean, place, mark.marker, color=mark.colour, markersize=8, gid=tip)
    right = mean + (std or 0)
    axes.annotate(
        label, (right, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9, color=INK
    )


def _draw_references(axes: Axes, drawing: Drawing, comparison: Comparison) -> None:
    """The frozen base and chance as vertical lines."""
    base = comparison.frozen_base
    if base is not None and base.acc.mean is not None:
        axes.axvline(base.acc.mean, color=MUTED, linestyle="--", linewidth=1.2, zorder=1)
    if comparison.chance:
        chance = sum(comparison.chance.values()) / len(comparison.chance)
        tip = drawing.tip(f"chance {chance:.3f}")
        axes.plot([chance, chance], axes.get_ylim(), ":", color=MUTED, linewidth=1.4, zorder=1, gid=tip)


def _room_for_value(names: Sequence[str]) -> float:
    """The share of the data's span that `0.570 ± 0.013` needs at the right, beside names this long."""
    longest = max(len(part) for name in names for part in name.split("\n"))
    axes_in = WIDTH_IN - 0.2 - _CHAR_IN * longest
    return 1.04 * _VALUE_IN / (axes_in - _VALUE_IN)


def _alt_methods(comparison: Comparison, summaries: Sequence[MethodSummary]) -> str:
    values = [
        f"{summary.cell.variant.label} {summary.acc.mean:.3f}"
        for summary in summaries
        if summary.acc.mean is not None
    ]
    return f"Dot plot of {comparison.score_name} on {comparison.base}. {list_points(values)}"
