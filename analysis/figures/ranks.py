"""The figure of an ablation of ranks: accuracy against the rank of the adapters."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.figure import WIDTH_IN, Drawing, draw_level, list_points, metric_label, state_spread
from analysis.figures.style import RC, Mark, mark_variants
from analysis.stats.aggregate import Comparison, MethodSummary
from portal.methods import find_method

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
            _alternative(comparison, series),
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


def _alternative(comparison: Comparison, series: Mapping[tuple[str, str], Sequence[MethodSummary]]) -> str:
    points = [
        f"{find_method(method).label} {modules} {each.acc.mean:.3f} at rank {_rank(each)}"
        for (method, modules), line in series.items()
        for each in line
    ]
    return f"{comparison.score_title} on {comparison.base} against rank. {list_points(points)}"
