"""The figure of an ablation of ranks: accuracy against the rank of the adapters."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.figure import METRIC_LABELS, WIDTH_IN, Drawing, list_points, state_spread
from analysis.figures.style import MUTED, RC, mark_variants
from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.result_table import METHOD_LABELS

MIN_RANKS = 3
"""Fewer ranks than this are points, not a curve."""


def draw_ranks(comparison: Comparison, slug: str) -> Drawing | None:
    """A line for every method and set of modules that has MIN_RANKS ranks or more; None when none has."""
    series = {key: lines for key, lines in _by_modules(comparison).items() if len(lines) >= MIN_RANKS}
    if not series:
        return None
    marks = mark_variants(lines[0].cell.variant for lines in series.values())
    ranks = sorted({_rank(line) for lines in series.values() for line in lines})
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.4), layout="constrained")
        drawing = Drawing(
            f"ranks-{slug}",
            f"Accuracy on {comparison.base} against the rank of the adapters: mean and sample std over "
            "seeds. Dashed: the frozen base; dotted: the per-task LoRA that lift is measured against.",
            _alternative(comparison, series),
            figure,
        )
        axes = figure.add_subplot()
        axes.set_xscale("log", base=2)
        for (method, modules), lines in series.items():
            mark = marks[lines[0].cell.variant]
            name = f"{METHOD_LABELS.get(method, method)} {modules}"
            places, means = [_rank(line) for line in lines], [line.acc.known for line in lines]
            axes.errorbar(
                places, means, yerr=[line.acc.std or 0.0 for line in lines], color=mark.colour, label=name,
                linewidth=1.8, elinewidth=1.8,
            )  # fmt: skip
            for line in lines:
                tip = drawing.tip(f"{name}, rank {_rank(line)}: {state_spread(line.acc.mean, line.acc.std)}")
                axes.plot(_rank(line), line.acc.known, mark.marker, color=mark.colour, markersize=7, gid=tip)
        for summary, style, name in (
            (comparison.floor, "--", "frozen base"),
            (comparison.ceiling, ":", "per-task LoRA"),
        ):
            if summary is not None and summary.acc.mean is not None:
                tip = drawing.tip(f"{name}: {summary.acc.mean:.3f}")
                axes.axhline(
                    summary.acc.mean, color=MUTED, linestyle=style, linewidth=1.4, label=name, gid=tip
                )
        axes.xaxis.set_major_locator(FixedLocator(ranks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([str(rank) for rank in ranks])
        axes.set_xlabel("rank, log scale")
        axes.set_ylabel(METRIC_LABELS["acc"].split(",")[0])
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=2)
    return drawing


def _by_modules(comparison: Comparison) -> dict[tuple[str, str], list[MethodSummary]]:
    """Scored main lines by method and modules, one a rank, ascending; the first of those with equal ranks."""
    found: dict[tuple[str, str], dict[int, MethodSummary]] = {}
    for line in comparison.main:
        variant = line.cell.variant
        if line.acc.mean is not None and variant.modules is not None and variant.rank is not None:
            shape = variant.settings.rsplit(" r", 1)[0]
            found.setdefault((variant.method, shape), {}).setdefault(variant.rank, line)
    return {key: [lines[rank] for rank in sorted(lines)] for key, lines in found.items()}


def _rank(line: MethodSummary) -> int:
    assert line.cell.variant.rank is not None
    return line.cell.variant.rank


def _alternative(comparison: Comparison, series: Mapping[tuple[str, str], Sequence[MethodSummary]]) -> str:
    points = [
        f"{METHOD_LABELS.get(method, method)} {modules} {line.acc.mean:.3f} at rank {_rank(line)}"
        for (method, modules), lines in series.items()
        for line in lines
    ]
    return f"Accuracy on {comparison.base} against rank. {list_points(points)}"
