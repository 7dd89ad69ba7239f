"""The map of task latents: joint training's vector of every task in two dimensions, coloured by kind."""

from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.figure import INK, RC, WIDTH_IN, Drawing
from analysis.stats.latents import LatentMap

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#882255", "#7a6a00", "#332288")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""A kind has one of each: forty-two pairs before any is used again."""
_LEGEND_COLUMNS, _LEGEND_ROW_IN = 3, 0.2
MOST_NAMES = 12
"""More tasks than these are not named in the figure; a pointer shows their names."""


def draw_latents(latent_map: LatentMap, number: int) -> Drawing:
    """A mark per task; `number` tells the maps of a study apart."""
    kinds = sorted(set(latent_map.kinds))
    pairs = dict(zip(kinds, _pairs(), strict=False))
    has_kinds = kinds != [""]
    rows = -(-len(kinds) // _LEGEND_COLUMNS) if has_kinds else 0
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.6 + _LEGEND_ROW_IN * rows), layout="constrained")
        drawing = Drawing(
            f"latents-{number}", _caption(latent_map), _alternative(latent_map, has_kinds), figure
        )
        axes = figure.add_subplot()
        middle = latent_map.places_T2.mean(axis=0)[0]
        places = zip(latent_map.tasks, latent_map.kinds, latent_map.places_T2.tolist(), strict=True)
        for task, kind, (x, y) in places:
            colour, marker = pairs[kind]
            tip = drawing.tip(f"{task} ({kind})" if kind else task)
            axes.plot(x, y, marker, color=colour, markersize=5.5, alpha=0.85, gid=tip)
            if len(latent_map.tasks) <= MOST_NAMES:
                side, align = (4, "left") if x <= middle else (-4, "right")
                axes.annotate(task, (x, y), (side, 4), textcoords="offset points", fontsize=7.5, ha=align)
        _label_axes(axes, latent_map)
        if has_kinds:
            handles = [
                Line2D([], [], color=pairs[kind][0], marker=pairs[kind][1], linestyle="", markersize=5.5)
                for kind in kinds
            ]
            names = [kind or "no kind" for kind in kinds]
            figure.legend(
                handles, names, loc="outside upper left", ncols=_LEGEND_COLUMNS, fontsize=8.5,
                handletextpad=0.2,
            )  # fmt: skip
    return drawing


def _pairs() -> Iterator[tuple[str, str]]:
    """Colours and markers: both change from one kind to the next."""
    turn = 0
    while True:
        for place, colour in enumerate(_COLOURS):
            yield colour, _MARKERS[(place + turn) % len(_MARKERS)]
        turn += 1


def _label_axes(axes: Axes, latent_map: LatentMap) -> None:
    first, second = latent_map.shares
    axes.set_xlabel(f"first principal axis ({100 * first:.0f} % of the variance)")
    axes.set_ylabel(f"second principal axis ({100 * second:.0f} %)")
    axes.margins(0.12)
    axes.grid(axis="both")
    axes.tick_params(labelcolor=INK)


def _caption(latent_map: LatentMap) -> str:
    run = latent_map.run
    near = ""
    if latent_map.alike is not None and latent_map.by_chance is not None:
        near = (
            f" The nearest other latent, by its angle in all dimensions, is of the same kind for "
            f"{100 * latent_map.alike:.0f} % of the tasks; by chance for {100 * latent_map.by_chance:.0f} %."
        )
    return (
        f"Task latents of {run.cell.variant.full_name}, seed {run.seed}, along the two axes of most variance."
        f"{near}"
    )


def _alternative(latent_map: LatentMap, has_kinds: bool) -> str:
    kinds = f" of {len({*latent_map.kinds} - {''})} kinds" if has_kinds else ""
    return f"Map of the latents of {len(latent_map.tasks)} tasks{kinds}. {_caption(latent_map)}"
