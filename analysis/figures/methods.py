"""Figures of a base's main lines: methods, and methods by task."""

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
    """Every main line as a dot with its seed std, single seeds as ticks, base and chance as lines.

    None where no line has a score.
    """
    lines = [line for line in comparison.main if line.acc.mean is not None]
    if not lines:
        return None
    marks = mark_variants(line.cell.variant for line in lines)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.15 + 0.42 * len(lines)), layout="constrained")
        drawing = Drawing(
            f"methods-{slug}",
            f"Accuracy on {comparison.base} by method: mean and sample std over seeds, seeds as "
            "ticks. Dashed: the frozen base; dotted: chance.",
            _alt_methods(comparison, lines),
            figure,
        )
        axes = figure.add_subplot()
        for place, line in enumerate(lines):
            _draw_method(axes, drawing, line, marks[line.cell.variant], place)
        names = [fill(marks[line.cell.variant].name, NAME_CHARS) for line in lines]
        axes.set_yticks(range(len(lines)), names)
        axes.set_ylim(-0.6, len(lines) - 0.2)
        axes.set_xlabel(METRIC_LABELS["acc"])
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        if comparison.floor is not None and comparison.floor.acc.mean is not None:
            axes.axvline(comparison.floor.acc.mean, color=MUTED, linestyle="--", linewidth=1.2, zorder=1)
        if comparison.chance:
            chance = sum(comparison.chance.values()) / len(comparison.chance)
            _draw_chance(axes, drawing, chance)
        widen(axes, 0.04, _room_for_value(names))
        limits = axes.get_xlim()
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1])  # beyond is room for values only
        axes.set_xlim(*limits)
    return drawing


def draw_tasks(comparison: Comparison, slug: str) -> Drawing | None:
    """Every task as a row, every main line as a marker on it, chance as a grey tick; None without a score."""
    lines = [line for line in comparison.main if line.per_task]
    if not lines:
        return None
    tasks = sorted({task for line in lines for task in line.per_task}, reverse=True)
    marks = mark_variants(line.cell.variant for line in lines)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.38 * len(tasks)), layout="constrained")
        drawing = Drawing(
            f"tasks-{slug}",
            f"Accuracy on {comparison.base} by task; grey ticks are chance, grey crosses the "
            "rate of the answer that is right most often.",
            f"Dot plot of acc_norm on {comparison.base}: {len(tasks)} tasks, {len(lines)} methods. "
            "The table of the same name holds the numbers.",
            figure,
        )
        axes = figure.add_subplot()
        for row, task in enumerate(tasks):
            if task in comparison.chance:
                tip = drawing.tip(f"{task}, chance: {comparison.chance[task]:.3f}")
                axes.plot(
                    comparison.chance[task],
                    row,
                    "|",
                    color=MUTED,
                    markersize=13,
                    markeredgewidth=1.6,
                    gid=tip,
                )
            if task in comparison.majority:
                tip = drawing.tip(f"{task}, majority answer: {comparison.majority[task]:.3f}")
                axes.plot(
                    comparison.majority[task],
                    row,
                    "x",
                    color=MUTED,
                    markersize=7,
                    markeredgewidth=1.6,
                    gid=tip,
                )
            for lane, line in enumerate(lines):
                # Lanes keep methods with equal scores from covering each other.
                height = row + _LANES * (lane / max(len(lines) - 1, 1) - 0.5)
                _draw_task_dot(axes, drawing, line, marks[line.cell.variant], task, height)
        handles = [legend_handle(axes, marks[line.cell.variant], linestyle="none") for line in lines]
        axes.set_yticks(range(len(tasks)), tasks)
        axes.set_ylim(-0.6, len(tasks) - 0.4)
        axes.set_xlabel("acc_norm on test rows, mean over seeds")
        axes.grid(axis="both")
        axes.tick_params(axis="y", length=0)
        widen(axes, 0.02, 0.02)
        names = [marks[line.cell.variant].name for line in lines]
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


def _draw_method(axes: Axes, drawing: Drawing, line: MethodSummary, mark: Mark, place: int) -> None:
    mean, std = line.acc.mean, line.acc.std
    assert mean is not None
    label = state_spread(mean, std)
    tip = drawing.tip(f"{mark.name}: {label}" + (f", n = {line.acc.n}" if line.seeds != (None,) else ""))
    for value in line.acc.values if line.acc.n > 1 else ():
        axes.plot(value, place - 0.27, "|", color=mark.colour, markersize=7, markeredgewidth=1.4)
    if std is not None:
        axes.plot([mean - std, mean + std], [place, place], color=mark.colour, linewidth=2.2)
    axes.plot(mean, place, mark.marker, color=mark.colour, markersize=8, gid=tip)
    right = mean + (std or 0)
    axes.annotate(
        label, (right, place), xytext=(9, 0), textcoords="offset points", va="center", fontsize=9, color=INK
    )


def _draw_chance(axes: Axes, drawing: Drawing, chance: float) -> None:
    tip = drawing.tip(f"chance {chance:.3f}")
    axes.plot([chance, chance], axes.get_ylim(), ":", color=MUTED, linewidth=1.4, zorder=1, gid=tip)


def _draw_task_dot(
    axes: Axes, drawing: Drawing, line: MethodSummary, mark: Mark, task: str, height: float
) -> None:
    if task not in line.per_task or line.per_task[task].mean is None:
        return
    point = line.per_task[task]
    tip = drawing.tip(f"{task}, {mark.name}: {state_spread(point.mean, point.std)}")
    axes.plot(
        point.known, height, mark.marker, color=mark.colour, markersize=6.5, gid=tip,
    )  # fmt: skip


def _room_for_value(names: Sequence[str]) -> float:
    """The share of the data's span that `0.570 ± 0.013` needs at the right, beside names this long."""
    longest = max(len(part) for name in names for part in name.split("\n"))
    axes_in = WIDTH_IN - 0.2 - _CHAR_IN * longest
    return 1.04 * _VALUE_IN / (axes_in - _VALUE_IN)


def _alt_methods(comparison: Comparison, lines: Sequence[MethodSummary]) -> str:
    values = [f"{line.cell.variant.label} {line.acc.mean:.3f}" for line in lines if line.acc.mean is not None]
    return f"Dot plot of acc_norm on {comparison.base}. {list_points(values)}"
