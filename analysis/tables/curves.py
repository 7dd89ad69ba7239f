"""Tables of data efficiency: every point of the curves, and what equal accuracy needs."""

from collections.abc import Mapping, Sequence

from analysis.stats.absent_runs import method_key
from analysis.stats.curves import Curve
from analysis.stats.findings import Target
from analysis.stats.quantities import Spread
from analysis.stats.result_table import MethodKey
from analysis.stats.savings import Ratio, Saving
from analysis.tables.columns import (
    AMOUNT,
    COUNT,
    DASH,
    NUMBER,
    NUMBER_RANGE,
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
AXIS_NAMES = {
    "size": "rows per task",
    "rows": "rows of all tasks",
    "train_flops": "training FLOPs",
    "wall_s": "training s",
}


def _ratio_text(value: Ratio) -> str:
    return DASH if value.value is None else f"{value.bound}{format_amount(value.value)}"


def _range_text(value: Ratio) -> str:
    """`1.5 to 2.2`, limits that are bounds with ≤ or ≥; one limit where the ratio itself is a bound."""
    low, high = value.interval.low, value.interval.high
    if low is None or high is None:
        return DASH
    if value.bound:
        return f"{value.bound}{format_amount(low if value.bound == GREATER else high)}"
    return f"{value.low_bound}{format_amount(low)} to {value.high_bound}{format_amount(high)}"


RATIO = Kind(_ratio_text, lambda value: (value.bound, value.value), (" bound", ""))
RATIO_RANGE = Kind(_range_text, lambda value: (value.interval.low, value.interval.high), (" low", " high"))
SHARE = Kind(lambda value: f"{100 * value:.0f} %")


def _curve_columns(score_name: str) -> tuple[Column, ...]:
    return (
        Column("method", WORD),
        Column("size", COUNT),
        Column(score_name, SPREAD),
        Column(f"{score_name}: 95 %", NUMBER_RANGE),
        Column("seeds", COUNT),
        Column("rolling mean", NUMBER),
        Column("star", Kind(str)),
        Column("log-loss", SPREAD),
        Column("rows of all tasks", AMOUNT),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
    )


def curve_table(target: Target) -> Table:
    """Accuracy, log-loss and cost of every variant and size at the epoch that a run keeps.

    Sizes without results are dashes.
    """
    curves, log_loss = target.curves["acc"], target.curves.get("log_loss")
    losses = {
        (curve.variant, size): point
        for curve in (log_loss.curves if log_loss is not None else ())
        for size, point in zip(curve.sizes, curve.points, strict=True)
    }
    rows: list[tuple[object, ...]] = []
    reasons = []
    for curve in curves.curves:
        name = curve.variant.full_name
        points = _points(curve, losses)
        absent = {run.size for run in target.absent if method_key(run) == curve.variant}
        for size in sorted({*points, *(size for size in absent if size is not None)}):
            if size not in points:
                reasons.append(f"{name}, {size} rows: no finished run")
            rows.append((name, size, *points.get(size, (None, None, 0, None, "", None, None, None, None))))
    title = f"{target.base}: data efficiency (\u2605 first reaches the per-task LoRA's peak)"
    return Table(
        title, f"curve-{target.slug}", _curve_columns(target.score_name), tuple(rows), tuple(reasons)
    )


def savings_table(target: Target) -> Table:
    """Rows, operations and time that every variant needs for a share of the LoRA's lift, and the LoRA's.

    A variant that reaches none of the shares has no row.
    """
    reaching = {saving.variant for saving in target.savings.found if saving.needed is not None}
    placed: dict[tuple[MethodKey, float], dict[str, Saving]] = {}
    for saving in target.savings.found:
        if saving.variant in reaching:
            placed.setdefault((saving.variant, saving.share), {})[saving.axis] = saving
    axes = [axis for axis in AXIS_NAMES if any(axis in by_axis for by_axis in placed.values())]
    rows: list[tuple[object, ...]] = []
    for (variant, share), by_axis in placed.items():
        fields: list[object] = []
        for axis in axes:
            found = by_axis.get(axis)
            fields += (
                [None] * 4 if found is None else [found.needed, found.lora_needs, found.ratio, found.ratio]
            )
        rows.append((variant.full_name, share, next(iter(by_axis.values())).accuracy, *fields))
    reasons = _saving_reasons(target.savings.found)
    needs = {"accuracy": "what equal accuracy needs", "score": "what an equal score needs"}
    title = f"{target.base}: {needs[target.comparison.score_word]}"
    columns = _savings_columns(axes, target.score_name)
    return Table(title, f"savings-{target.slug}", columns, tuple(rows), tuple(reasons))


def _points(curve: Curve, losses: Mapping[tuple[MethodKey, int], Spread]) -> dict[int, tuple[object, ...]]:
    """By size, the values of _curve_columns but the first two."""
    return {
        size: (
            point,
            interval,
            point.n,
            rolling,
            "\u2605" if size == curve.star else "",
            losses.get((curve.variant, size), Spread(None, None, 0)),
            cost.rows,
            cost.train_flops,
            cost.wall_s,
        )
        for size, point, interval, rolling, cost in zip(
            curve.sizes, curve.points, curve.point_intervals, curve.rolling, curve.costs, strict=True
        )
    }


def _savings_columns(axes: Sequence[str], score_name: str) -> tuple[Column, ...]:
    columns = [Column("method", WORD), Column("share of the LoRA's lift", SHARE), Column(score_name, NUMBER)]
    for axis in axes:
        unit = AXIS_NAMES[axis]
        columns += [
            Column(unit, AMOUNT),
            Column(f"{unit}: LoRA", AMOUNT),
            Column(f"{unit}: times less", RATIO),
            Column(f"{unit}: 95 %", RATIO_RANGE),
        ]
    return tuple(columns)


def _saving_reasons(savings: Sequence[Saving]) -> list[str]:
    """Why ratios or intervals are left out, and in how many draws a method does not reach the accuracy."""
    shares: dict[tuple[str, str], list[str]] = {}
    for saving in savings:
        if saving.axis != "size":
            continue
        reasons = [saving.ratio.interval.reason]
        if saving.ratio.missed > 0:
            reasons.append(f"not reached in {100 * saving.ratio.missed:.1f} % of draws, which count as 0")
        for reason in filter(None, reasons):
            name = saving.variant.full_name
            shares.setdefault((name, reason), []).append(f"{100 * saving.share:.0f} %")
    return [f"{name}, {', '.join(own)}: {reason}" for (name, reason), own in shares.items()]
