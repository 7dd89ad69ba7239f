"""Tables of data efficiency: every point of the curves, and what equal accuracy needs."""

from collections.abc import Sequence

from analysis.stats.aggregate import Spread
from analysis.stats.curves import Curve, CurveSet
from analysis.stats.result_table import MethodKey
from analysis.stats.savings import Ratio, Saving
from analysis.stats.study_info import StudyInfo
from analysis.tables.columns import (
    AMOUNT,
    COUNT,
    NUMBER,
    SCIENTIFIC,
    SECONDS,
    SPREAD,
    WORD,
    Column,
    Kind,
    format_amount,
)
from analysis.tables.table import Table

GREATER = "\u2265"
AXIS_NAMES = {"size": "rows a task", "train_flops": "training FLOPs", "wall_s": "training s"}


def _ratio_text(value: Ratio) -> str:
    return "\u2014" if value.value is None else f"{value.bound}{format_amount(value.value)}"


def _range_text(value: Ratio) -> str:
    """`1.5 to 2.2`, limits that are bounds with ≤ or ≥; one limit where the ratio itself is a bound."""
    low, high = value.interval.low, value.interval.high
    if low is None or high is None:
        return "\u2014"
    if value.bound:
        return f"{value.bound}{format_amount(low if value.bound == GREATER else high)}"
    return f"{value.low_bound}{format_amount(low)} to {value.high_bound}{format_amount(high)}"


RATIO = Kind(_ratio_text, lambda value: (value.bound, value.value), (" bound", ""))
RATIO_RANGE = Kind(_range_text, lambda value: (value.interval.low, value.interval.high), (" low", " high"))
SHARE = Kind(lambda value: f"{100 * value:.0f} %")


def curve_table(curves: CurveSet, log_loss: CurveSet | None, info: StudyInfo, slug: str) -> Table:
    """Final-epoch accuracy, log-loss and cost of every variant and size; sizes without results are dashes."""
    losses = {
        (curve.variant, size): point
        for curve in (log_loss.curves if log_loss is not None else ())
        for size, point in zip(curve.sizes, curve.points, strict=True)
    }
    rows: list[tuple[object, ...]] = []
    reasons = []
    for curve in curves.curves:
        name = _curve_name(curve)
        points = {
            size: (
                name,
                size,
                point,
                point.n,
                rolling,
                "\u2605" if size == curve.star else "",
                losses.get((curve.variant, size), Spread(None, None, 0)),
                cost.train_flops,
                cost.wall_s,
            )
            for size, point, rolling, cost in zip(
                curve.sizes, curve.points, curve.rolling, curve.costs, strict=True
            )
        }
        absent = {run.size for run in info.absent if run.variant == curve.variant and run.base == curves.base}
        for size in sorted({*points, *(size for size in absent if size is not None)}):
            if size not in points:
                reasons.append(f"{name}, {size} rows: no finished run")
            rows.append(points.get(size, (name, size, None, 0, None, "", None, None, None)))
    columns = (
        Column("method", WORD),
        Column("size", COUNT),
        Column("acc_norm", SPREAD),
        Column("seeds", COUNT),
        Column("rolling mean", NUMBER),
        Column("star", Kind(str)),
        Column("log-loss", SPREAD),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
    )
    title = f"{curves.base}: data efficiency, final epoch (\u2605 first reaches the per-task LoRA's peak)"
    return Table(title, f"curve-{slug}", columns, tuple(rows), tuple(reasons))


def savings_table(savings: Sequence[Saving], base: str, slug: str) -> Table:
    """What every variant needs for a share of the LoRA's lift, and how many times less that is."""
    placed: dict[tuple[MethodKey, float], dict[str, Saving]] = {}
    for saving in savings:
        placed.setdefault((saving.variant, saving.share), {})[saving.axis] = saving
    axes = [axis for axis in AXIS_NAMES if any(saving.axis == axis for saving in savings)]
    rows: list[tuple[object, ...]] = []
    reasons = []
    for (variant, share), by_axis in placed.items():
        name = f"{variant.label} {variant.settings}"
        row: list[object] = [name, share, next(iter(by_axis.values())).accuracy]
        for axis in axes:
            if axis in by_axis:
                found = by_axis[axis]
                row += [found.needed, found.lora_needs, found.ratio, found.ratio]
            else:
                row += [None] * 4
        rows.append(tuple(row))
        why = next(
            (saving.ratio.interval.reason for saving in by_axis.values() if saving.ratio.interval.reason),
            None,
        )
        if why is not None:
            reasons.append(f"{name}, {100 * share:.0f} %: {why}")
        missed = max(saving.ratio.missed for saving in by_axis.values())
        if missed > 0:
            reasons.append(
                f"{name}, {100 * share:.0f} %: not reached in {100 * missed:.1f} % of draws, which count as 0"
            )
    columns = [Column("method", WORD), Column("share of the LoRA's lift", SHARE), Column("acc_norm", NUMBER)]
    for axis in axes:
        unit = AXIS_NAMES[axis]
        columns += [
            Column(unit, AMOUNT),
            Column(f"{unit}: LoRA", AMOUNT),
            Column(f"{unit}: times less", RATIO),
            Column(f"{unit}: 95 %", RATIO_RANGE),
        ]
    return Table(
        f"{base}: what equal accuracy needs", f"savings-{slug}", tuple(columns), tuple(rows), tuple(reasons)
    )


def _curve_name(curve: Curve) -> str:
    return f"{curve.variant.label} {curve.variant.settings}"
