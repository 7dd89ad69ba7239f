"""Figures of accuracy on a base: by method, task, kind and rank, in two studies; and the reliability plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.figure import (
    INK,
    MUTED,
    NAME_CHARS,
    RC,
    WIDTH_IN,
    Drawing,
    Mark,
    draw_level,
    label_rows,
    legend_columns,
    legend_handle,
    legend_height,
    list_points,
    mark_variants,
    metric_label,
    state_spread,
    widen,
)
from analysis.stats.aggregate import Comparison, MethodSummary, Spread, accuracy_on, mean_chance
from analysis.stats.calibration import Calibration
from analysis.stats.findings import Pair, Target
from analysis.stats.result_table import score_word
from portal.methods import find_method

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
        _task_alternative(comparison, len(tasks), "tasks", len(summaries)),
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
        _task_alternative(comparison, len(kinds), "kinds of task", len(summaries)),
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
            _task_alternative(comparison, len(part), f"tasks, {part[0]} to {part[-1]}", len(summaries)),
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


def _task_alternative(comparison: Comparison, num_rows: int, rows: str, num_methods: int) -> str:
    return (
        f"Dot plot of {comparison.score_name} on {comparison.base}: {num_rows} {rows}, {num_methods} "
        "methods. The table of scores by task holds the numbers."
    )


MIN_RANKS = 3
"""Fewer ranks than this are points, not a curve."""


def draw_ranks(comparison: Comparison, slug: str) -> Drawing | None:
    """A line for every method and set of modules that has MIN_RANKS ranks or more; None when none has."""
    series = {key: line for key, line in _by_modules(comparison).items() if len(line) >= MIN_RANKS}
    if not series:
        return None
    marks = mark_variants(line[0].cell.variant for line in series.values())
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
        drawing = Drawing(
            f"ranks-{slug}",
            f"{comparison.score_title} on {comparison.base} against the rank of the adapters: mean and "
            "sample std over seeds. Dashed: the frozen base; dotted: the per-task LoRA that lift is measured "
            "against.",
            _rank_alternative(comparison, series),
            figure,
        )
        axes = figure.add_subplot()
        axes.set_xscale("log", base=2)
        for (method, modules), line in series.items():
            name = f"{find_method(method).label} {modules}"
            _draw_line(axes, drawing, line, marks[line[0].cell.variant], name)
        for summary, linestyle, name in (
            (comparison.frozen_base, "--", "frozen base"),
            (comparison.reference_lora, ":", "per-task LoRA"),
        ):
            if summary is not None and summary.acc.mean is not None:
                draw_level(axes, drawing, summary.acc.mean, name, linestyle=linestyle, zorder=2)
        _label_axes(
            axes, sorted({_rank(each) for line in series.values() for each in line}), comparison.score_name
        )
        figure.legend(loc="outside upper left", ncols=2)
    return drawing


def _draw_line(axes: Axes, drawing: Drawing, line: Sequence[MethodSummary], mark: Mark, name: str) -> None:
    """Means with their stds over the ranks of one method and set of modules."""
    axes.errorbar(
        [_rank(each) for each in line], [each.acc.known for each in line],
        yerr=[each.acc.std or 0.0 for each in line], color=mark.colour, label=name, linewidth=1.8,
        elinewidth=1.8,
    )  # fmt: skip
    for each in line:
        tip = drawing.tip(f"{name}, rank {_rank(each)}: {state_spread(each.acc.mean, each.acc.std)}")
        axes.plot(_rank(each), each.acc.known, mark.marker, color=mark.colour, markersize=7, gid=tip)


def _label_axes(axes: Axes, ranks: Sequence[int], score_name: str) -> None:
    axes.xaxis.set_major_locator(FixedLocator(ranks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(rank) for rank in ranks])
    axes.set_xlabel("rank, log scale")
    axes.set_ylabel(metric_label("acc", score_name))
    axes.grid(axis="y")


def _by_modules(comparison: Comparison) -> dict[tuple[str, str], list[MethodSummary]]:
    """Scored headline summaries by method and modules, one per rank, ascending: the first of equal ranks."""
    found: dict[tuple[str, str], dict[int, MethodSummary]] = {}
    for summary in comparison.headline_summaries:
        variant = summary.cell.variant
        if summary.acc.mean is not None and variant.modules is not None and variant.rank is not None:
            shape = variant.settings.rsplit(" r", 1)[0]
            found.setdefault((variant.method, shape), {}).setdefault(variant.rank, summary)
    return {key: [by_rank[rank] for rank in sorted(by_rank)] for key, by_rank in found.items()}


def _rank(summary: MethodSummary) -> int:
    assert summary.cell.variant.rank is not None
    return summary.cell.variant.rank


def _rank_alternative(
    comparison: Comparison, series: Mapping[tuple[str, str], Sequence[MethodSummary]]
) -> str:
    points = [
        f"{find_method(method).label} {modules} {each.acc.mean:.3f} at rank {_rank(each)}"
        for (method, modules), line in series.items()
        for each in line
    ]
    return f"{comparison.score_title} on {comparison.base} against rank. {list_points(points)}"


_MARKS = (("#0072b2", "o"), ("#d55e00", "s"))
"""Colour and marker of the first study and of the second."""
_OFFSETS = (0.16, -0.16)
"""Their dots' distances from the middle of a row."""


def draw_pairs(
    base: str, pairs: Sequence[Pair], names: tuple[str, str], slug: str, score_name: str
) -> Drawing | None:
    """Every cell as a row with one dot per study; None where nothing has a score."""
    shown = [
        pair
        for pair in pairs
        if any(summary is not None and summary.acc.mean is not None for summary in pair.summaries)
    ]
    if not shown:
        return None
    word = score_word(score_name).capitalize()
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.5 + 0.5 * len(shown)), layout="constrained")
        drawing = Drawing(
            f"pair-{slug}",
            f"{word} on {base} in both studies: mean and sample std over seeds.",
            _pair_alternative(base, shown, names, score_name),
            figure,
        )
        axes = figure.add_subplot()
        handles = [_draw_study(axes, drawing, shown, place, name) for place, name in enumerate(names)]
        label_rows(
            axes,
            [fill(pair.name, NAME_CHARS) for pair in shown],
            f"{metric_label('acc', score_name)}, task mean",
            headroom=0.4,
        )
        widen(axes, 0.04, 0.04)
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing


def _draw_study(axes: Axes, drawing: Drawing, pairs: Sequence[Pair], place: int, name: str) -> Line2D:
    """The dots of one study, with their seed stds; its handle for the legend."""
    colour, marker = _MARKS[place]
    (handle,) = axes.plot([], [], marker, color=colour, markersize=7.5, label=name)
    for row, pair in enumerate(pairs):
        summary = pair.summaries[place]
        if summary is None or summary.acc.mean is None:
            continue
        mean, std, height = summary.acc.mean, summary.acc.std or 0.0, row + _OFFSETS[place]
        axes.plot([mean - std, mean + std], [height, height], color=colour, linewidth=2.2)
        tip = drawing.tip(f"{pair.name}, {name}: {state_spread(mean, summary.acc.std)}")
        axes.plot(mean, height, marker, color=colour, markersize=7.5, gid=tip)
    return handle


def _pair_alternative(base: str, pairs: Sequence[Pair], names: tuple[str, str], score_name: str) -> str:
    points = [
        f"{pair.name} {summary.acc.mean:.3f} in {name}"
        for pair in pairs
        for summary, name in zip(pair.summaries, names, strict=True)
        if summary is not None and summary.acc.mean is not None
    ]
    return f"Dot plot of {score_name} on {base}. {list_points(points)}"


_COLUMNS, _MOST_PANELS = 3, 9
_LEFT_OUT = " Of a method with several variants the one is shown that stands for it; the table has all."
_HEIGHT_PER_WIDTH = 1.2
"""Height of a panel with its title and ticks, in widths of it."""
_LARGEST_DOT = 70.0
"""Area of the fullest bin's dot, in square points."""


def draw_reliability(target: Target) -> Drawing:
    """One panel per variant: a dot per bin, its area the bin's share of the answers, against the diagonal.

    Of more than _MOST_PANELS, each method's representative.
    """
    calibrations = _shown_calibrations(target)
    marks = mark_variants(each.cell.variant for each in calibrations)
    columns = 2 if len(calibrations) == 4 else min(_COLUMNS, len(calibrations))  # no row of a single panel
    rows = ceil(len(calibrations) / columns)
    with matplotlib.rc_context(RC):
        height = 0.5 + (WIDTH_IN - 0.6) / columns * _HEIGHT_PER_WIDTH * rows
        figure = Figure(figsize=(WIDTH_IN, height), layout=ConstrainedLayoutEngine(w_pad=0.09))
        drawing = Drawing(
            f"reliability-{target.slug}",
            f"Reliability on {target.base}: the share of right answers against the probability that the "
            "method gives them among the choices, in fifteen bins; a dot's area is its bin's share of the "
            "answers. On the dashed line probabilities can be taken at their word; below it the method is "
            "too sure." + _LEFT_OUT * (calibrations != target.calibrations),
            f"Reliability plot on {target.base}. "
            + list_points(
                [
                    f"{marks[each.cell.variant].name} expected calibration error {each.ece.mean:.3f}"
                    for each in calibrations
                ]
            ),
            figure,
        )
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.flat):
            if place >= len(calibrations):
                axes.set_visible(False)
                continue
            _draw_panel(axes, drawing, calibrations[place], marks[calibrations[place].cell.variant])
            below = place + columns
            axes.tick_params(labelbottom=below >= len(calibrations), labelleft=place % columns == 0)
        figure.supxlabel("probability of the likeliest choice", fontsize=10, color=INK)
        figure.supylabel("share that is right", fontsize=10, color=INK)
    return drawing


def _shown_calibrations(target: Target) -> tuple[Calibration, ...]:
    found, comparison = target.calibrations, target.comparison
    if len(found) <= _MOST_PANELS:
        return found
    chosen = (comparison.representative(method) for method in {each.cell.method for each in found})
    cells = {each.cell for each in chosen if each is not None}
    return tuple(each for each in found if each.cell in cells)


def _draw_panel(axes: Axes, drawing: Drawing, calibration: Calibration, mark: Mark) -> None:
    filled = calibration.bins
    total = sum(each.count for each in filled)
    most = max(each.count for each in filled)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1.2, zorder=1)
    axes.plot(
        [each.confidence for each in filled],
        [each.accuracy for each in filled],
        color=mark.colour,
        linewidth=1,
    )
    for each in filled:
        tip = drawing.tip(
            f"{mark.name}, probability {each.confidence:.2f} ({each.count / total:.1%} of all answers): "
            f"{each.accuracy:.1%} are right"
        )
        area = max(_LARGEST_DOT * each.count / most, 3.0)
        axes.plot(each.confidence, each.accuracy, "o", color=mark.colour, markersize=area**0.5, gid=tip)
    axes.set_title(f"{fill(mark.name, NAME_CHARS)}\nECE {calibration.ece.mean:.3f}", fontsize=8.5)
    axes.set_xlim(0, 1.04)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_aspect("equal")
    axes.grid(axis="both")
