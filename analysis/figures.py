"""The figures of a report as `Drawing`s: methods on a base, tasks, and data-efficiency curves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.aggregate import Comparison, Summary
from analysis.curves import Curve, CurveSet
from analysis.style import INK, MUTED, RC, Mark, mark_variants

WIDTH_IN = 4.6
METRIC_LABELS = {
    "acc": "acc_norm on test rows, task mean",
    "log_loss": "log-loss (nats per token), task mean",
}
_NAME_CHARS = 22
"""A longer name of a method stands on two lines."""
_CHAR_IN, _VALUE_IN = 0.085, 1.2  # a character of a name, and a value with its std, as set by RC
_LANES = 0.5
"""Share of a task's row over which the methods are spread."""
_TIGHT_LOG_STEP = 0.11
"""Neighbouring ticks nearer than this share of the axis get slanted labels."""


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
        """Writes NAME.png and NAME.svg under `folder`, whole, the same bytes for the same data."""
        paths = []
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            path = folder / f"{self.name}.{suffix}"
            temporary = path.with_name(f"{path.name}.tmp")
            with matplotlib.rc_context(RC):
                self.figure.savefig(temporary, format=suffix, dpi=180, facecolor="white", metadata=metadata)
            temporary.replace(path)
            paths.append(path)
        return paths


def draw_methods(comparison: Comparison, slug: str) -> Drawing:
    """Every main line as a dot with its seed std, single seeds as ticks, base and chance as lines."""
    lines = [line for line in comparison.main if line.acc.mean is not None]
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
        names = [fill(marks[line.cell.variant].name, _NAME_CHARS) for line in lines]
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
        _widen(axes, 0.04, _room_for_value(names))
    return drawing


def draw_tasks(comparison: Comparison, slug: str) -> Drawing:
    """Every task as a row, every main line as a marker on it, chance as a grey tick."""
    lines = [line for line in comparison.main if line.per_task]
    tasks = sorted({task for line in lines for task in line.per_task}, reverse=True)
    marks = mark_variants(line.cell.variant for line in lines)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.3 + 0.38 * len(tasks)), layout="constrained")
        drawing = Drawing(
            f"tasks-{slug}",
            f"Accuracy on {comparison.base} by task; grey ticks are chance.",
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
            for lane, line in enumerate(lines):
                # Lanes keep methods with equal scores from covering each other.
                height = row + _LANES * (lane / max(len(lines) - 1, 1) - 0.5)
                _draw_task_dot(axes, drawing, line, marks[line.cell.variant], task, height)
        handles = [_legend_handle(axes, marks[line.cell.variant], linestyle="none") for line in lines]
        axes.set_yticks(range(len(tasks)), tasks)
        axes.set_ylim(-0.6, len(tasks) - 0.4)
        axes.set_xlabel("acc_norm on test rows, mean over seeds")
        axes.grid(axis="both")
        axes.tick_params(axis="y", length=0)
        _widen(axes, 0.02, 0.02)
        names = [marks[line.cell.variant].name for line in lines]
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


def draw_curves(curves: CurveSet, slug: str) -> Drawing:
    """Rolling means as lines over raw means with seed bands; stars where the LoRA's peak is first reached."""
    marks = mark_variants(curve.variant for curve in curves.curves)
    measure = "Accuracy" if curves.metric == "acc" else "Log-loss"
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.9), layout="constrained")
        drawing = Drawing(
            f"curve-{curves.metric.replace('_', '-')}-{slug}",
            f"{measure} on {curves.base} against calibration rows a task, final epoch. Lines: mean over "
            "three neighbouring sizes. Open markers and bands: mean and standard deviation over seeds. "
            "Stars: first size to reach the per-task LoRA's peak.",
            _alt_curves(curves, measure),
            figure,
        )
        axes = figure.add_subplot()
        axes.set_xscale("log")
        handles: list[Artist] = []
        names = []
        for curve in curves.curves:
            handles.append(_draw_curve(axes, drawing, curve, marks[curve.variant]))
            names.append(marks[curve.variant].name)
        if curves.floor is not None:
            tip = drawing.tip(f"frozen base: {curves.floor:.3f}")
            handles.append(
                axes.axhline(curves.floor, color=MUTED, linestyle="--", linewidth=1.4, zorder=1, gid=tip)
            )
            names.append("frozen base")
        if curves.peak is not None:
            tip = drawing.tip(f"the per-task LoRA's peak: {curves.peak:.3f}")
            handles.append(
                axes.axhline(curves.peak, color=MUTED, linestyle=":", linewidth=1.4, zorder=1, gid=tip)
            )
            names.append("per-task LoRA's peak")
        _label_sizes(axes, curves.sizes)
        axes.set_xlabel("calibration rows a task (log scale)")
        axes.set_ylabel(METRIC_LABELS[curves.metric].split(",")[0])
        axes.grid(axis="y")
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


def _draw_method(axes: Axes, drawing: Drawing, line: Summary, mark: Mark, place: int) -> None:
    mean, std = line.acc.mean, line.acc.std
    assert mean is not None
    label = f"{mean:.3f}" if std is None else f"{mean:.3f} ± {std:.3f}"
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


def _draw_task_dot(axes: Axes, drawing: Drawing, line: Summary, mark: Mark, task: str, height: float) -> None:
    if task not in line.per_task or line.per_task[task].mean is None:
        return
    point = line.per_task[task]
    spread = "" if point.std is None else f" ± {point.std:.3f}"
    tip = drawing.tip(f"{task}, {mark.name}: {point.mean:.3f}{spread}")
    axes.plot(
        point.known, height, mark.marker, color=mark.colour, markersize=6.5, gid=tip,
    )  # fmt: skip


def _draw_curve(axes: Axes, drawing: Drawing, curve: Curve, mark: Mark) -> Line2D:
    means = [point.known for point in curve.points]
    stds = [point.std or 0.0 for point in curve.points]
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    axes.fill_between(curve.sizes, low, high, color=mark.colour, alpha=0.15, linewidth=0)
    (line,) = axes.plot(curve.sizes, curve.rolling, color=mark.colour)
    for size, point, rolled in zip(curve.sizes, curve.points, curve.rolling, strict=True):
        std = "" if point.std is None else f" ± {point.std:.3f}"
        tip = drawing.tip(
            f"{mark.name}, {size} rows: {point.known:.3f}{std} (n = {point.n}); rolling mean {rolled:.3f}"
        )
        axes.plot(
            size, point.known, mark.marker, markerfacecolor="none", markeredgecolor=mark.colour, markersize=6,
            gid=tip,
        )  # fmt: skip
    if curve.star is not None:
        reached = curve.rolling[curve.sizes.index(curve.star)]
        tip = drawing.tip(f"{mark.name} first reaches the per-task LoRA's peak at {curve.star} rows")
        axes.plot(
            curve.star, reached, "*", color=mark.colour, markersize=15, markeredgecolor=INK, zorder=5, gid=tip
        )
    return line


def _legend_handle(axes: Axes, mark: Mark, *, linestyle: str) -> Line2D:
    (handle,) = axes.plot([], [], mark.marker, color=mark.colour, markersize=7.5, linestyle=linestyle)
    return handle


def _label_sizes(axes: Axes, sizes: Sequence[int]) -> None:
    """The sizes themselves as ticks, slanted where neighbours would touch."""
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(size) for size in sizes])
    low, high = axes.transData.transform([(sizes[0], 0), (sizes[-1], 0)])[:, 0]
    places = axes.transData.transform([(size, 0) for size in sizes])[:, 0]
    steps = [(right - left) / (high - low) for left, right in pairwise(places)]
    if steps and min(steps) < _TIGHT_LOG_STEP:
        axes.tick_params(axis="x", labelrotation=60)


def _room_for_value(names: Sequence[str]) -> float:
    """The share of the data's span that `0.570 ± 0.013` needs at the right, beside names this long."""
    longest = max(len(part) for name in names for part in name.split("\n"))
    axes_in = WIDTH_IN - 0.2 - _CHAR_IN * longest
    return 1.04 * _VALUE_IN / (axes_in - _VALUE_IN)


def _widen(axes: Axes, left: float, right: float) -> None:
    """Room beside the data for markers and the text at their right."""
    low, high = axes.dataLim.intervalx
    span = max(high - low, 0.02)
    axes.set_xlim(low - left * span, high + right * span)


def _alt_methods(comparison: Comparison, lines: Sequence[Summary]) -> str:
    values = "; ".join(
        f"{line.cell.variant.label} {line.acc.mean:.3f}" for line in lines if line.acc.mean is not None
    )
    return f"Dot plot of acc_norm on {comparison.base}. {values}."


def _alt_curves(curves: CurveSet, measure: str) -> str:
    ends = "; ".join(
        f"{curve.variant.label} from {curve.points[0].mean:.3f} at {curve.sizes[0]} rows "
        f"to {curve.points[-1].mean:.3f} at {curve.sizes[-1]}"
        for curve in curves.curves
    )
    return f"{measure} on {curves.base} against calibration rows a task. {ends}."
