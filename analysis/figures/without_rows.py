"""Figures of tasks without a row: ports and their controls over rows per task, or over calibrated tasks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.figure import (
    INK,
    MUTED,
    RC,
    WIDTH_IN,
    Drawing,
    Mark,
    band_limits,
    label_ticks,
    legend_columns,
    legend_height,
    list_points,
    mark_variants,
    metric_label,
    state_band,
)
from analysis.stats.bootstrap import LEVEL
from analysis.stats.findings import Target
from analysis.stats.result_table import MethodKey
from analysis.stats.task_split import (
    GROUPS,
    Group,
    SplitCurve,
    SplitPanel,
    TaskGroup,
    TaskSplit,
    curves_over_rows,
    curves_over_tasks,
)

_PANELS_ABREAST = 2
_PANEL_IN, _ONLY_PANEL_IN = 1.9, 2.7
_LABEL_IN = 0.5
_LEVEL = f"{100 * LEVEL:.0f} %"
_STYLES: dict[Group, str] = {"calibrated": ":", "without_rows": "-"}


def draw_over_rows(target: Target) -> Drawing | None:
    """A panel for every number of calibrated tasks; None where no port has several sizes."""
    panels = curves_over_rows(target.task_splits)
    titles = [f"{panel.fixed} of {_num_tasks(panel)} tasks calibrated" for panel in panels]
    return _draw(target, panels, titles, "without-rows", "rows per calibrated task")


def draw_over_tasks(target: Target) -> Drawing | None:
    """A panel for every number of rows; None where no port has several numbers of calibrated tasks."""
    panels = curves_over_tasks(target.task_splits)
    titles = [f"{panel.fixed} {'row' if panel.fixed == 1 else 'rows'} per task" for panel in panels]
    return _draw(target, panels, titles, "calibrated-tasks", "number of calibrated tasks")


@dataclass(frozen=True)
class _Series:
    """A curve as it is drawn: of one group of tasks, under a mark that is the same in all panels."""

    curve: SplitCurve
    group: Group
    mark: Mark

    @property
    def name(self) -> str:
        """`PorTAL`, or `PorTAL, calibrated tasks`."""
        return self.mark.name if self.group == "without_rows" else f"{self.mark.name}, calibrated tasks"

    @property
    def points(self) -> list[tuple[int, TaskSplit, float]]:
        """Place, split and accuracy of the splits that have tasks in the group."""
        known = zip(self.curve.places, self.curve.splits, strict=True)
        found = ((place, split, _group(split, self.group).acc.mean) for place, split in known)
        return [(place, split, mean) for place, split, mean in found if mean is not None]


def _draw(
    target: Target, panels: Sequence[SplitPanel], titles: Sequence[str], name: str, label: str
) -> Drawing | None:
    if not panels:
        return None
    drawn = _series(panels)
    columns = min(_PANELS_ABREAST, len(panels))
    rows = ceil(len(panels) / columns)
    entries = list(_legend(drawn))
    handles, names = zip(*entries, strict=True)
    height = rows * (_PANEL_IN if columns > 1 else _ONLY_PANEL_IN) + legend_height(names)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, height + _LABEL_IN), layout="constrained")
        drawing = Drawing(
            f"{name}-{target.slug}", _caption(target, label), _alternative(target, drawn, titles), figure
        )
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(panels))
            if place < len(panels):
                _draw_panel(axes, drawing, target, drawn[place])
                axes.set_title(titles[place], fontsize=9.5)
        figure.supxlabel(f"{label}, log scale", fontsize=10, color=INK)
        figure.supylabel(metric_label("acc", target.score_name), fontsize=10, color=INK)
        figure.legend(handles, names, loc="outside upper left", ncols=legend_columns(names), fontsize=8.5)
    return drawing


def _series(panels: Sequence[SplitPanel]) -> list[list[_Series]]:
    """By panel, every curve on tasks without a row, and ports on calibrated tasks.

    Where no panel has two curves of a method, its labels are one method: it bears the plain name.
    """
    methods = [[curve.variant.method for curve in panel.curves] for panel in panels]
    is_plain = all(len(set(own)) == len(own) for own in methods)

    def key(curve: SplitCurve) -> MethodKey:
        method = curve.variant.method
        return MethodKey(method, method, None, None, None) if is_plain else curve.variant

    marks = mark_variants(key(curve) for panel in panels for curve in panel.curves)
    found = [
        [
            _Series(curve, group, marks[key(curve)])
            for curve in panel.curves
            for group in GROUPS[::-1]
            if group == "without_rows" or curve.is_port
        ]
        for panel in panels
    ]
    return [[series for series in panel if series.points] for panel in found]


def _draw_panel(axes: Axes, drawing: Drawing, target: Target, drawn: Sequence[_Series]) -> None:
    axes.set_xscale("log")
    axes.margins(x=0.08)
    for series in drawn:
        _draw_series(axes, drawing, target, series)
    _draw_base(axes, drawing, drawn)
    label_ticks(axes, sorted({float(place) for series in drawn for place, _, _ in series.points}))
    axes.grid(axis="y")


def _draw_series(axes: Axes, drawing: Drawing, target: Target, series: _Series) -> None:
    """A line with its marks and the band of its intervals; dotted on calibrated tasks."""
    points, mark = series.points, series.mark
    places = [place for place, _, _ in points]
    limits = [_limits(target, split, series.group, mean) for _, split, mean in points]
    low, high = [low for low, _ in limits], [high for _, high in limits]
    axes.fill_between(places, low, high, color=mark.colour, alpha=_band_alpha(series), linewidth=0)
    axes.plot(places, [mean for _, _, mean in points], _STYLES[series.group], color=mark.colour)
    for (place, split, mean), (low_end, high_end) in zip(points, limits, strict=True):
        tip = drawing.tip(
            f"{series.name}, {split.cell.size} rows of each of {split.num_calibrated} tasks: "
            f"{mean:.3f}{state_band(low_end, high_end)}"
        )
        filled = mark.colour if series.group == "without_rows" else "none"
        axes.plot(
            place, mean, mark.marker, markerfacecolor=filled, markeredgecolor=mark.colour, markersize=5.5,
            gid=tip,
        )  # fmt: skip


def _draw_base(axes: Axes, drawing: Drawing, drawn: Sequence[_Series]) -> None:
    """The frozen base on the port's tasks without a row: the level that all rise from."""
    ports = (series for series in drawn if series.curve.is_port and series.group == "without_rows")
    port = next(ports, None)
    known = [(place, split.without_rows.base_acc.mean) for place, split, _ in port.points] if port else []
    levels = [(place, level) for place, level in known if level is not None]
    if levels:
        (places, values) = zip(*levels, strict=True)
        tip = drawing.tip(f"frozen base on tasks without a row: {min(values):.3f} to {max(values):.3f}")
        axes.plot(places, values, "--", color=MUTED, linewidth=1.4, zorder=1, gid=tip)


def _legend(drawn: Sequence[Sequence[_Series]]) -> Iterator[tuple[Line2D, str]]:
    """An entry for every series of any panel, and the base's."""
    seen: dict[str, _Series] = {}
    for series in (each for panel in drawn for each in panel):
        seen.setdefault(series.name, series)
    for name, series in seen.items():
        filled = series.mark.colour if series.group == "without_rows" else "none"
        yield (
            Line2D(
                [], [], color=series.mark.colour, linestyle=_STYLES[series.group], marker=series.mark.marker,
                markersize=5.5, markerfacecolor=filled,
            ),
            name,
        )  # fmt: skip
    yield Line2D([], [], color=MUTED, linestyle="--", linewidth=1.4), "frozen base"


def _group(split: TaskSplit, group: Group) -> TaskGroup:
    return split.calibrated if group == "calibrated" else split.without_rows


def _limits(target: Target, split: TaskSplit, group: Group, mean: float) -> tuple[float, float]:
    """The interval of a point; the mean twice where there is none."""
    bootstrap = target.split_bootstrap
    return band_limits(None if bootstrap is None else bootstrap.accuracy(split.cell, group), mean)


def _band_alpha(series: _Series) -> float:
    return 0.15 if series.group == "without_rows" else 0.07


def _num_tasks(panel: SplitPanel) -> int:
    return max(split.num_tasks for curve in panel.curves for split in curve.splits)


def _caption(target: Target, label: str) -> str:
    bands = (
        "" if target.split_bootstrap is None else f" Bands: {_LEVEL} intervals over tasks, rows and seeds."
    )
    return (
        f"Tasks without a row on {target.base}, against the {label}. Full marks: tasks of which a run saw no "
        f"row; open marks, dotted: the port's calibrated tasks. Dashed grey: the frozen base on the former."
        f"{bands}"
    )


def _alternative(target: Target, drawn: Sequence[Sequence[_Series]], titles: Sequence[str]) -> str:
    ends = [
        f"{title}: {series.name} from {series.points[0][2]:.3f} to {series.points[-1][2]:.3f}"
        for title, panel in zip(titles, drawn, strict=True)
        for series in panel
    ]
    word = target.comparison.score_title
    return f"{word} on tasks without a row on {target.base}. {list_points(ends)}"
