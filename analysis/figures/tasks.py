"""Figures of accuracy on a base by task or by kind of task: a row each, and a marker per method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.figure import (
    WIDTH_IN,
    Drawing,
    label_rows,
    legend_columns,
    legend_handle,
    legend_height,
    metric_label,
    state_spread,
    widen,
)
from analysis.figures.style import MUTED, RC, Mark, mark_variants
from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.kinds import accuracy_on, mean_chance
from analysis.stats.quantities import Spread

_LANES = 0.5
"""Share of a row over which the methods are spread."""
_ROW_IN, _LOW_ROW_IN = 0.38, 0.28
_MANY_ROWS = 14
"""Figures with kinds that have more rows than this have low ones."""
_MOST_ROWS = 24
"""Rows of one figure of single tasks."""
_MOST_METHODS = 6
"""Of more variants, a figure with kinds shows one per method."""


@dataclass(frozen=True)
class _Row:
    """One row: what it is called, its scores by method, and where it has them the rates to compare with.

    A row of several tasks has the lowest and the highest of their means, by method.
    """

    name: str
    scores: Sequence[Spread | None]
    rates: Mapping[str, float]
    spans: Sequence[tuple[float, float] | None] = field(default=())


def draw_tasks(comparison: Comparison, slug: str) -> Drawing | None:
    """One row per task: headline summaries as markers, chance as a grey tick; None without a score."""
    summaries = _scored(comparison)
    if not summaries:
        return None
    tasks = sorted({task for summary in summaries for task in summary.per_task}, reverse=True)
    names = _names(summaries)
    legend_in = 0.4 if legend_columns(names) == 2 else legend_height(names)
    height = 0.9 + legend_in + _ROW_IN * len(tasks)
    drawing = _blank(
        f"tasks-{slug}",
        f"{comparison.score_title} on {comparison.base} by task{_MARKS_OF_TASKS}",
        _alternative(comparison, len(tasks), "tasks", len(summaries)),
        height,
    )
    _draw_rows(
        drawing, [_task_row(comparison, summaries, task) for task in tasks], summaries, comparison.score_name
    )
    return drawing


def draw_kinds(comparison: Comparison, slug: str) -> Drawing | None:
    """One row per kind: means over its tasks as markers on lines from the lowest to the highest of them.

    None without kinds or a score.
    """
    summaries = _shown(comparison)
    if not summaries or not comparison.kinds:
        return None
    kinds = list(comparison.kinds)[::-1]
    drawing = _blank(
        f"kinds-{slug}",
        f"{comparison.score_title} on {comparison.base} by kind of task: means over the tasks of a "
        "kind, on lines from the lowest to the highest of them; grey ticks are chance.",
        _alternative(comparison, len(kinds), "kinds of task", len(summaries)),
        _height(len(kinds), summaries),
    )
    _draw_rows(
        drawing, [_kind_row(comparison, summaries, kind) for kind in kinds], summaries, comparison.score_name
    )
    return drawing


def draw_task_parts(comparison: Comparison, slug: str) -> tuple[Drawing, ...]:
    """The single tasks in figures of at most _MOST_ROWS rows, the tasks of a kind together."""
    summaries = _shown(comparison)
    tasks = {task for summary in summaries for task in summary.per_task}
    groups = comparison.kinds or {"": tuple(sorted(tasks))}
    parts = _divide([[task for task in own if task in tasks] for own in groups.values()])
    drawings = []
    marks = _MARKS_OF_TASKS if comparison.majority else "; grey ticks are chance."
    for number, part in enumerate(parts, start=1):
        rows = [_task_row(comparison, summaries, task) for task in reversed(part)]
        drawing = _blank(
            f"tasks-{slug}-{number}",
            f"{comparison.score_title} on {comparison.base} by task, {part[0]} to {part[-1]}{marks}",
            _alternative(comparison, len(part), f"tasks, {part[0]} to {part[-1]}", len(summaries)),
            _height(len(part), summaries),
        )
        _draw_rows(drawing, rows, summaries, comparison.score_name)
        drawings.append(drawing)
    _share_limits(drawings)
    return tuple(drawings)


_MARKS_OF_TASKS = "; grey ticks are chance, grey crosses the rate of the answer that is right most often."


def _scored(comparison: Comparison) -> list[MethodSummary]:
    return [summary for summary in comparison.headline_summaries if summary.per_task]


def _shown(comparison: Comparison) -> list[MethodSummary]:
    """The headline summaries with a score; of many, one for each method."""
    scored = _scored(comparison)
    if len(scored) <= _MOST_METHODS:
        return scored
    chosen = map(comparison.representative, {summary.cell.method for summary in scored})
    cells = {summary.cell for summary in chosen if summary is not None}
    return [summary for summary in scored if summary.cell in cells]


def _divide(groups: Iterable[Sequence[str]]) -> list[list[str]]:
    """Tasks in parts of at most _MOST_ROWS; a group is divided only where it is larger than that."""
    parts: list[list[str]] = []
    for group in groups:
        count = max(1, ceil(len(group) / _MOST_ROWS))
        size = ceil(len(group) / count)
        for start in range(0, len(group), max(1, size)):
            piece = list(group[start : start + size])
            if parts and count == 1 and len(parts[-1]) + len(piece) <= _MOST_ROWS:
                parts[-1] += piece
            else:
                parts.append(piece)
    return parts


def _height(num_rows: int, summaries: Sequence[MethodSummary]) -> float:
    """Inches of a figure: its rows, its axis and its legend."""
    row = _ROW_IN if num_rows <= _MANY_ROWS else _LOW_ROW_IN
    return 0.9 + legend_height(_names(summaries)) + row * num_rows


def _names(summaries: Sequence[MethodSummary]) -> list[str]:
    marks = mark_variants(summary.cell.variant for summary in summaries)
    return [marks[summary.cell.variant].name for summary in summaries]


def _task_row(comparison: Comparison, summaries: Sequence[MethodSummary], task: str) -> _Row:
    rates = (("chance", comparison.chance), ("majority answer", comparison.majority))
    known = {name: values[task] for name, values in rates if task in values}
    return _Row(task, [summary.per_task.get(task) for summary in summaries], known)


def _kind_row(comparison: Comparison, summaries: Sequence[MethodSummary], kind: str) -> _Row:
    tasks = comparison.kinds[kind]
    chance = mean_chance(comparison, tasks)
    name = f"{kind} ({len(tasks)})"
    scores = [accuracy_on(summary, tasks) for summary in summaries]
    spans = [_span(summary, tasks) for summary in summaries]
    return _Row(name, scores, {} if chance is None else {"chance": chance}, spans)


def _span(summary: MethodSummary, tasks: Sequence[str]) -> tuple[float, float] | None:
    means = [summary.per_task[task].known for task in tasks if task in summary.per_task]
    return (min(means), max(means)) if means else None


def _blank(name: str, caption: str, alt: str, height_in: float) -> Drawing:
    with matplotlib.rc_context(RC):
        return Drawing(name, caption, alt, Figure(figsize=(WIDTH_IN, height_in), layout="constrained"))


def _draw_rows(
    drawing: Drawing, rows: Sequence[_Row], summaries: Sequence[MethodSummary], score_name: str
) -> None:
    """The rows from below, and the legend."""
    marks = mark_variants(summary.cell.variant for summary in summaries)
    own = [marks[summary.cell.variant] for summary in summaries]
    with matplotlib.rc_context(RC):
        axes = drawing.figure.add_subplot()
        for place, row in enumerate(rows):
            _draw_rates(axes, drawing, row, place)
            for lane, mark in enumerate(own):
                # Lanes keep methods with equal scores from covering each other.
                height = place + _LANES * (lane / max(len(own) - 1, 1) - 0.5)
                _draw_score(axes, drawing, row, lane, mark, height)
        handles = [legend_handle(axes, mark, linestyle="none") for mark in own]
        names = [row.name for row in rows]
        label_rows(
            axes, names, f"{metric_label('acc', score_name)}, mean over seeds", headroom=0.4, grid="both"
        )
        widen(axes, 0.02, 0.02)
        labels = [mark.name for mark in own]
        drawing.figure.legend(handles, labels, loc="outside upper left", ncols=legend_columns(labels))


def _share_limits(drawings: Sequence[Drawing]) -> None:
    """One x axis for all of them."""
    limits = [axes.get_xlim() for drawing in drawings for axes in drawing.figure.axes]
    for drawing in drawings:
        for axes in drawing.figure.axes:
            axes.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))


def _draw_rates(axes: Axes, drawing: Drawing, row: _Row, place: int) -> None:
    """Chance and the majority answer's rate, where they are known."""
    for name, marker, size in (("chance", "|", 13), ("majority answer", "x", 7)):
        if name in row.rates:
            tip = drawing.tip(f"{row.name}, {name}: {row.rates[name]:.3f}")
            axes.plot(
                row.rates[name], place, marker, color=MUTED, markersize=size, markeredgewidth=1.6, gid=tip
            )


def _draw_score(axes: Axes, drawing: Drawing, row: _Row, lane: int, mark: Mark, height: float) -> None:
    point = row.scores[lane]
    span = row.spans[lane] if row.spans else None
    if span is not None:
        axes.plot(span, [height, height], color=mark.colour, linewidth=1.2, alpha=0.5)
    if point is None or point.mean is None:
        return
    tip = drawing.tip(f"{row.name}, {mark.name}: {state_spread(point.mean, point.std)}")
    axes.plot(
        point.known, height, mark.marker, color=mark.colour, markersize=6.5, gid=tip,
    )  # fmt: skip


def _alternative(comparison: Comparison, num_rows: int, rows: str, num_methods: int) -> str:
    return (
        f"Dot plot of {comparison.score_name} on {comparison.base}: {num_rows} {rows}, {num_methods} "
        "methods. The table of scores by task holds the numbers."
    )
