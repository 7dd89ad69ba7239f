"""The reliability plot: the share of right answers against the probability that a method gives them."""

from math import ceil
from textwrap import fill

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.figures.figure import NAME_CHARS, WIDTH_IN, Drawing, list_points
from analysis.figures.style import INK, MUTED, RC, Mark, mark_variants
from analysis.stats.calibration import Calibration
from analysis.stats.findings import Target

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
    calibrations = _shown(target)
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


def _shown(target: Target) -> tuple[Calibration, ...]:
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
