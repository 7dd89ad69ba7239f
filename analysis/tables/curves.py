"""Tables of data efficiency, of log-loss by size, of leads with as many rows, and of cost."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum

from analysis.stats.aggregate import Comparison, Spread
from analysis.stats.bootstrap import Interval
from analysis.stats.curves import Curve, Ratio, Saving, SizedLoss
from analysis.stats.findings import Target
from analysis.stats.result_table import MethodKey, ResultSet, Run, method_key
from analysis.tables.table import (
    AMOUNT,
    COUNT,
    DASH,
    NUMBER,
    NUMBER_RANGE,
    POINTS,
    POINTS_RANGE,
    SCIENTIFIC,
    SECONDS,
    SPREAD,
    VERDICT,
    WORD,
    Column,
    Kind,
    Table,
    format_amount,
)
from portal.methods import BASE, find_method

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


def log_loss_table(target: Target) -> Table | None:
    """One row per method and size; None where nothing was trained at a size."""
    if not target.losses:
        return None
    rows = tuple(
        (
            loss.cell.variant.full_name,
            _loss_verdict(loss),
            loss.cell.size,
            loss.log_loss,
            loss.interval,
            None if loss.difference is None else loss.difference.value,
            loss.difference,
        )
        for loss in target.losses
    )
    columns = (
        Column("method", WORD),
        Column("verdict", VERDICT),
        Column("size", COUNT),
        Column("log-loss", SPREAD),
        Column("log-loss: 95 %", NUMBER_RANGE),
        Column("difference from the LoRA's", NUMBER),
        Column("difference from the LoRA's: 95 %", NUMBER_RANGE),
    )
    title = f"{target.base}: log-loss by rows per task (nats per token, task mean)"
    return Table(title, f"log-loss-{target.slug}", columns, rows)


def _loss_verdict(loss: SizedLoss) -> str | None:
    difference = loss.difference
    if difference is None or difference.value is None:
        return None
    if not difference.excludes_zero:
        return "not distinguishable"
    return "below the LoRA's" if difference.value < 0 else "above the LoRA's"


def leads_table(target: Target) -> Table | None:
    """One row per port, other method and size; None where there is no such pair or no predictions."""
    if not target.leads:
        return None
    rows = tuple(
        (
            lead.port.variant.full_name,
            lead.against.variant.full_name,
            lead.port.size,
            _verdict(lead.difference),
            lead.difference.value,
            lead.difference,
            lead.num_seeds,
        )
        for lead in target.leads
    )
    columns = (
        Column("port", WORD),
        Column("against", WORD),
        Column("size", COUNT),
        Column("verdict", VERDICT),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{target.base}: ports against other methods by rows per task (intervals draw tasks, too)"
    return Table(title, f"leads-{target.slug}", columns, rows)


def _verdict(difference: Interval) -> str:
    if not difference.excludes_zero:
        return "not distinguishable"
    return "ahead" if difference.value is not None and difference.value > 0 else "behind"


MONEY = Kind(lambda value: f"{value:,.2f}" if value >= 1 else f"{value:.3g}")


def run_cost_table(comparisons: Sequence[Comparison], price: float | None) -> Table:
    """Mean cost of one run of every variant at its largest size; `price` is that of a device-hour."""
    rows = tuple(
        (
            comparison.base,
            summary.cell.variant.full_name,
            summary.cell.size,
            summary.cost.rows,
            summary.cost.trained_params,
            summary.cost.train_tokens,
            summary.cost.train_flops,
            summary.cost.wall_s,
            *_charges(summary.cost.device_hours, price),
        )
        for comparison in comparisons
        for summary in comparison.headline_summaries
        if summary.cell.method != BASE.name
    )
    columns = (
        Column("base", WORD),
        Column("method", WORD),
        Column("size", COUNT),
        Column("rows of all tasks", AMOUNT),
        Column("trained parameters", COUNT),
        Column("training tokens", COUNT),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
        *_charge_columns(price),
    )
    return Table("Cost of one run (mean over seeds)", "cost", columns, rows)


def study_cost_table(study: ResultSet, price: float | None) -> Table:
    """Cost of all runs of every method, and of the study; each run counts once, on however many bases."""
    by_key = {run.key: run for run in study.runs if run.cell.method != BASE.name}
    methods = sorted({run.cell.method for run in by_key.values()}, key=_method_order)
    rows = [
        _total(
            find_method(method).label,
            [run for run in by_key.values() if run.cell.method == method],
            price,
        )
        for method in methods
    ]
    rows.append(_total("all", list(by_key.values()), price))
    columns = (
        Column("method", WORD),
        Column("runs", COUNT),
        Column("training tokens", COUNT),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
        *_charge_columns(price),
    )
    title = "Cost of the study (runs with results; their training, not their scoring)"
    return Table(title, "study-cost", columns, tuple(rows), footer=1)


def _charge_columns(price: float | None) -> tuple[Column, ...]:
    hours = Column("device-hours", AMOUNT)
    return (hours,) if price is None else (hours, Column(f"price at {price:g} a device-hour", MONEY))


def _charges(hours: float | None, price: float | None) -> tuple[float | None, ...]:
    """The values of `_charge_columns`."""
    if price is None:
        return (hours,)
    return hours, None if hours is None else hours * price


def _total(name: str, runs: Sequence[Run], price: float | None) -> tuple[object, ...]:
    tokens = _sum(run.cost.train_tokens for run in runs)
    return (
        name,
        len(runs),
        None if tokens is None else round(tokens),
        _sum(run.cost.train_flops for run in runs),
        _sum(run.cost.wall_s for run in runs),
        *_charges(_sum(run.cost.device_hours for run in runs), price),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _method_order(method: str) -> tuple[int, str]:
    return find_method(method).order, method
