"""Figures of new tasks: accuracy over the number of source tasks, and over rows of a new task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.figures.figure import (
    INK,
    MUTED,
    RC,
    SERIES,
    WIDTH_IN,
    Drawing,
    Mark,
    band_limits,
    draw_level,
    label_ticks,
    legend_columns,
    legend_height,
    list_points,
    metric_label,
    state_band,
)
from analysis.stats.bootstrap import LEVEL
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from portal.methods import LORA

_PANEL_IN, _LABEL_IN = 2.5, 0.5
_LEVEL = f"{100 * LEVEL:.0f} %"
_MIN_PLACES = 2
"""Fewer places than this on an axis are points, not a curve."""


@dataclass(frozen=True)
class _Line:
    """A curve of a panel: places on the axis with the scores there."""

    mark: Mark
    style: str
    points: tuple[tuple[int, Score], ...]


def draw_over_source_tasks(target: Target) -> Drawing | None:
    """A panel per set of tasks, a line per method and rows; None where no method has several sources."""
    found = target.new_tasks
    if found is None:
        return None
    mains = _by(found, (each for each in found.places if each.is_main), _name_with_rows)
    controls = _by(found, _with_most_rows(found), _name_with_rows)
    lines = [
        *_lines(mains, "-", lambda place: place.num_tasks),
        *_lines(controls, ":", lambda place: place.num_tasks, start=len(mains)),
    ]
    what = f"New tasks on {target.base}, against the number of tasks of the source"
    return _draw(target, found, lines, "new-tasks", what, "tasks of the source", with_lora=True)


def draw_over_new_task_rows(target: Target) -> Drawing | None:
    """A panel per set of tasks, a line per number of source tasks and one of the LoRA; None for one size."""
    found = target.new_tasks
    if found is None:
        return None
    sized = [place for place in found.places if place.rows]
    loras = _by(found, (each for each in sized if each.cell.method == LORA.name), _name)
    mains = _by(found, (each for each in sized if each.is_main), _name_with_tasks)
    lines = [
        *_lines(mains, "-", lambda place: place.rows),
        *_lines(loras, "--", lambda place: place.rows, start=len(mains)),
    ]
    what = f"New tasks on {target.base}, against the rows of each"
    return _draw(target, found, lines, "new-tasks-rows", what, "rows per new task", with_lora=False)


def _with_most_rows(found: NewTasks) -> Iterator[Place]:
    """The controls, of each kind those with the most rows of new tasks."""
    controls = [place for place in found.places if place.is_control]
    most: dict[str, int] = {}
    for place in controls:
        most[place.family] = max(most.get(place.family, 0), place.rows or 0)
    return (place for place in controls if (place.rows or 0) == most[place.family])


def _name(found: NewTasks, place: Place) -> str:
    return found.name(place)


def _name_with_rows(found: NewTasks, place: Place) -> str:
    """`carried latents, 16 rows`; a control with rows of source tasks has its name alone."""
    rows = place.rows
    if rows is None:
        return _name(found, place)
    return f"{_name(found, place)}, {'no row' if rows == 0 else '1 row' if rows == 1 else f'{rows} rows'}"


def _name_with_tasks(found: NewTasks, place: Place) -> str:
    """`taught latent, 35 source tasks`."""
    return f"{_name(found, place)}, {place.num_tasks} source {'task' if place.num_tasks == 1 else 'tasks'}"


def _by(
    found: NewTasks, places: Iterable[Place], name: Callable[[NewTasks, Place], str]
) -> dict[str, list[Place]]:
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault(name(found, place), []).append(place)
    return groups


@dataclass(frozen=True)
class _Plan:
    """A line before its scores on a set of tasks are looked up."""

    mark: Mark
    style: str
    places: tuple[tuple[int, Place], ...]

    def on(self, tasks: TaskSet) -> _Line:
        known = ((spot, tasks.scores.get(place.cell)) for spot, place in self.places)
        points = tuple((spot, score) for spot, score in known if score is not None)
        return _Line(self.mark, self.style, points)


def _lines(
    groups: dict[str, list[Place]], style: str, place_of: Callable[[Place], int | None], *, start: int = 0
) -> Iterator[_Plan]:
    """A line for each group with several places on the axis."""
    for number, (name, places) in enumerate(groups.items(), start=start):
        spots = sorted((place_of(place) or 0, index) for index, place in enumerate(places))
        if len(spots) >= _MIN_PLACES:
            colour, marker = SERIES[number % len(SERIES)]
            mark = Mark(colour, marker, name)
            yield _Plan(mark, style, tuple((spot, places[index]) for spot, index in spots))


def _draw(
    target: Target,
    found: NewTasks,
    plans: Sequence[_Plan],
    name: str,
    what: str,
    label: str,
    *,
    with_lora: bool,
) -> Drawing | None:
    panels = [[plan.on(tasks) for plan in plans] for tasks in found.sets]
    if not any(plan.style == "-" for plan in plans):
        return None
    levels = _levels(found, with_lora=with_lora)
    names = [*(plan.mark.name for plan in plans), *levels]
    height = _PANEL_IN * len(found.sets) + legend_height(names) + _LABEL_IN
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
        caption, alt = _caption(found, plans, levels, what), _alternative(what, found, panels)
        drawing = Drawing(f"{name}-{target.slug}", caption, alt, figure)
        grid = figure.subplots(len(found.sets), 1, sharey=True, squeeze=False)
        for axes, tasks, lines in zip(grid.flat, found.sets, panels, strict=True):
            _draw_panel(axes, drawing, tasks, lines, levels, label)
        figure.supxlabel(f"{label}, log scale", fontsize=10, color=INK)
        figure.supylabel(metric_label("acc", target.score_name), fontsize=10, color=INK)
        handles = list(_legend(plans, levels))
        figure.legend(handles, names, loc="outside upper left", ncols=legend_columns(names), fontsize=8.5)
    return drawing


_BASE_LEVEL, _LORA_LEVEL = "frozen base", "per-task LoRA"


def _levels(found: NewTasks, *, with_lora: bool) -> dict[str, str]:
    """Line styles of the levels that some panel has, by name."""
    comparisons = [tasks.comparison for tasks in found.sets]
    levels = {}
    if any(each.frozen_base is not None for each in comparisons):
        levels[_BASE_LEVEL] = "--"
    if with_lora and any(each.reference_lora is not None for each in comparisons):
        levels[_LORA_LEVEL] = "-."
    return levels


def _draw_panel(
    axes: Axes, drawing: Drawing, tasks: TaskSet, lines: Sequence[_Line], levels: dict[str, str], label: str
) -> None:
    axes.set_xscale("log")
    axes.margins(x=0.08)
    axes.set_title(f"{len(tasks.tasks)} {tasks.title}", fontsize=9.5)
    for line in lines:
        _draw_line(axes, drawing, line, label)
    summaries = {_BASE_LEVEL: tasks.comparison.frozen_base, _LORA_LEVEL: tasks.comparison.reference_lora}
    for name, style in levels.items():
        summary = summaries[name]
        if summary is not None and summary.acc.mean is not None:
            rows = "" if summary.cell.size is None else f", {summary.cell.size} rows"
            draw_level(axes, drawing, summary.acc.mean, f"{name}{rows}", linestyle=style, zorder=1)
    label_ticks(axes, sorted({float(spot) for line in lines for spot, _ in line.points}))
    axes.grid(axis="y")
    _draw_lift_axis(axes, tasks)


def _draw_lift_axis(axes: Axes, tasks: TaskSet) -> None:
    """On the right, the share of the LoRA's lift; none where the LoRA has no clear lift."""
    base, lora = tasks.comparison.frozen_base, tasks.comparison.reference_lora
    if base is None or lora is None or not _has_lift(tasks):
        return
    low, rise = base.acc.known, lora.acc.known - base.acc.known

    def lift_of(score: Any) -> Any:
        return (score - low) / rise

    def score_of(lift: Any) -> Any:
        return low + lift * rise

    right = axes.secondary_yaxis("right", functions=(lift_of, score_of))
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.tick_params(labelsize=8.5)


def _has_lift(tasks: TaskSet) -> bool:
    """Whether any score there is a share of a LoRA's lift."""
    return any(score.summary.lift.value is not None for score in tasks.scores.values())


def _draw_line(axes: Axes, drawing: Drawing, line: _Line, label: str) -> None:
    """A line with its marks; the band of its intervals where it is no control."""
    spots = [spot for spot, _ in line.points]
    limits = [band_limits(score.accuracy, _mean(score)) for _, score in line.points]
    if line.style == "-":
        low, high = [low for low, _ in limits], [high for _, high in limits]
        axes.fill_between(spots, low, high, color=line.mark.colour, alpha=0.12, linewidth=0)
    axes.plot(spots, [_mean(score) for _, score in line.points], line.style, color=line.mark.colour)
    for (spot, score), (low_end, high_end) in zip(line.points, limits, strict=True):
        value = f"{_mean(score):.3f}{state_band(low_end, high_end)}"
        tip = drawing.tip(f"{line.mark.name}, at {spot} {label}: {value}")
        axes.plot(
            spot, _mean(score), line.mark.marker, markerfacecolor=line.mark.colour,
            markeredgecolor=line.mark.colour, markersize=5, gid=tip,
        )  # fmt: skip


def _legend(plans: Sequence[_Plan], levels: dict[str, str]) -> Iterator[Line2D]:
    for plan in plans:
        yield Line2D(
            [], [], color=plan.mark.colour, linestyle=plan.style, marker=plan.mark.marker, markersize=5
        )
    for style in levels.values():
        yield Line2D([], [], color=MUTED, linestyle=style, linewidth=1.4)


def _mean(score: Score) -> float:
    return score.summary.acc.known


def _caption(found: NewTasks, plans: Sequence[_Plan], levels: dict[str, str], what: str) -> str:
    drawn = any(tasks.bootstrap is not None for tasks in found.sets)
    bands = f" Bands: {_LEVEL} intervals over tasks, rows and seeds." if drawn else ""
    dotted = " Dotted: controls." if any(plan.style == ":" for plan in plans) else ""
    base = " Dashed grey: the frozen base." if _BASE_LEVEL in levels else ""
    right = " On the right: the share of a LoRA's lift." if any(map(_has_lift, found.sets)) else ""
    return f"{what}.{right}{dotted}{base}{bands}"


def _alternative(what: str, found: NewTasks, panels: Sequence[Sequence[_Line]]) -> str:
    ends = [
        f"{tasks.title}: {line.mark.name} from {_mean(line.points[0][1]):.3f} "
        f"to {_mean(line.points[-1][1]):.3f}"
        for tasks, lines in zip(found.sets, panels, strict=True)
        for line in lines
        if line.points
    ]
    return f"{what}. {list_points(ends)}"
