"""Figures of accuracy on a base: by method, and by task and method."""

from collections.abc import Sequence
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.figure import (
    METRIC_LABELS,
    NAME_CHARS,
    WIDTH_IN,
    Drawing,
    label_rows,
    legend_handle,
    list_points,
    state_spread,
    widen,
)
from analysis.figures.style import INK, MUTED, RC, Mark, mark_variants
from analysis.stats.aggregate import Comparison, MethodSummary

_CHAR_IN, _VALUE_IN = 0.085, 1.2  # a character of a name, and a value with its std, as set by RC
_LANES = 0.5
"""Share of a task's row over which the methods are spread."""


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
            f"Accuracy on {comparison.base} by method: mean and sample std over seeds, seeds as "
            "ticks. Dashed: the frozen base; dotted: chance.",
            _alt_methods(comparison, summaries),
            figure,
        )
        axes = figure.add_subplot()
        for place, summary in enumerate(summaries):
            _draw_method(axes, drawing, summary, marks[summary.cell.variant], place)
        names = [fill(marks[summary.cell.variant].name, NAME_CHARS) for summary in summaries]
        label_rows(axes, names, METRIC_LABELS["acc"], headroom=0.2)
        _draw_references(axes, drawing, comparison)
        widen(axes, 0.04, _room_for_value(names))
        limits = axes.get_xlim()
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1])  # beyond is room for values only
        axes.set_xlim(*limits)
    return drawing


def draw_tasks(comparison: Comparison, slug: str) -> Drawing | None:
    """One row per task: headline summaries as markers, chance as a grey tick; None without a score."""
    summaries = [summary for summary in comparison.headline_summaries if summary.per_task]
    if not summaries:
        return None
    tasks = sorted({task for summary in summaries for task in summary.per_task}, reverse=True)
    marks = mark_variants(summary.cell.variant for summary in summaries)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.38 * len(tasks)), layout="constrained")
        drawing = Drawing(
            f"tasks-{slug}",
            f"Accuracy on {comparison.base} by task; grey ticks are chance, grey crosses the "
            "rate of the answer that is right most often.",
            f"Dot plot of acc_norm on {comparison.base}: {len(tasks)} tasks, {len(summaries)} methods. "
            "The table of the same name holds the numbers.",
            figure,
        )
        axes = figure.add_subplot()
        for row, task in enumerate(tasks):
            _draw_task_rates(axes, drawing, comparison, task, row)
            for lane, summary in enumerate(summaries):
                # Lanes keep methods with equal scores from covering each other.
                height = row + _LANES * (lane / max(len(summaries) - 1, 1) - 0.5)
                _draw_task_dot(axes, drawing, summary, marks[summary.cell.variant], task, height)
        handles = [legend_handle(axes, marks[each.cell.variant], linestyle="none") for each in summaries]
        label_rows(axes, tasks, "acc_norm on test rows, mean over seeds", headroom=0.4, grid="both")
        widen(axes, 0.02, 0.02)
        names = [marks[summary.cell.variant].name for summary in summaries]
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


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


def _draw_task_rates(axes: Axes, drawing: Drawing, comparison: Comparison, task: str, row: int) -> None:
    """Chance and the majority answer's rate of one task, where they are known."""
    for rates, name, marker, size in (
        (comparison.chance, "chance", "|", 13),
        (comparison.majority, "majority answer", "x", 7),
    ):
        if task in rates:
            tip = drawing.tip(f"{task}, {name}: {rates[task]:.3f}")
            axes.plot(rates[task], row, marker, color=MUTED, markersize=size, markeredgewidth=1.6, gid=tip)


def _draw_task_dot(
    axes: Axes, drawing: Drawing, summary: MethodSummary, mark: Mark, task: str, height: float
) -> None:
    if task not in summary.per_task or summary.per_task[task].mean is None:
        return
    point = summary.per_task[task]
    tip = drawing.tip(f"{task}, {mark.name}: {state_spread(point.mean, point.std)}")
    axes.plot(
        point.known, height, mark.marker, color=mark.colour, markersize=6.5, gid=tip,
    )  # fmt: skip


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
    return f"Dot plot of acc_norm on {comparison.base}. {list_points(values)}"
