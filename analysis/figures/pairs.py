"""The figure of two studies side by side: accuracy of every method in both."""

from collections.abc import Sequence
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
from analysis.figures.style import RC
from analysis.stats.pairs import Pair
from analysis.stats.result_table import score_word

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
            _alternative(base, shown, names, score_name),
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


def _alternative(base: str, pairs: Sequence[Pair], names: tuple[str, str], score_name: str) -> str:
    points = [
        f"{pair.name} {summary.acc.mean:.3f} in {name}"
        for pair in pairs
        for summary, name in zip(pair.summaries, names, strict=True)
        if summary is not None and summary.acc.mean is not None
    ]
    return f"Dot plot of {score_name} on {base}. {list_points(points)}"
