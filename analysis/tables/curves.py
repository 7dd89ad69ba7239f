"""Tables of data efficiency, of log-loss by size, of leads with as many rows, and of cost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from operator import attrgetter

from analysis.stats.aggregate import Comparison, MethodSummary, Spread
from analysis.stats.bootstrap import Interval
from analysis.stats.contrasts import Lead
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
    Fields,
    Item,
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
    fields: Fields[SizedLoss] = (
        ("method", WORD, lambda loss: loss.cell.variant.full_name),
        ("verdict", VERDICT, _loss_verdict),
        ("size", COUNT, lambda loss: loss.cell.size),
        ("log-loss", SPREAD, lambda loss: loss.log_loss),
        ("log-loss: 95 %", NUMBER_RANGE, lambda loss: loss.interval),
        ("difference from the LoRA's", NUMBER, lambda loss: loss.difference and loss.difference.value),
        ("difference from the LoRA's: 95 %", NUMBER_RANGE, lambda loss: loss.difference),
    )
    title = f"{target.base}: log-loss by rows per task (nats per token, task mean)"
    return Table.of(title, f"log-loss-{target.slug}", target.losses, fields)


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
    fields: Fields[Lead] = (
        ("port", WORD, lambda lead: lead.port.variant.full_name),
        ("against", WORD, lambda lead: lead.against.variant.full_name),
        ("size", COUNT, lambda lead: lead.port.size),
        ("verdict", VERDICT, lambda lead: _verdict(lead.difference)),
        ("difference (points)", POINTS, lambda lead: lead.difference.value),
        ("difference: 95 %", POINTS_RANGE, lambda lead: lead.difference),
        ("shared seeds", COUNT, lambda lead: lead.num_seeds),
    )
    title = f"{target.base}: ports against other methods by rows per task (intervals draw tasks, too)"
    return Table.of(title, f"leads-{target.slug}", target.leads, fields)


def _verdict(difference: Interval) -> str:
    if not difference.excludes_zero:
        return "not distinguishable"
    return "ahead" if difference.value is not None and difference.value > 0 else "behind"


MONEY = Kind(lambda value: f"{value:,.2f}" if value >= 1 else f"{value:.3g}")


def run_cost_table(comparisons: Sequence[Comparison], price: float | None) -> Table:
    """Mean cost of one run of every variant at its largest size; `price` is that of a device-hour."""
    summaries = [each for comparison in comparisons for each in comparison.headline_summaries]
    fields: Fields[MethodSummary] = (
        ("base", WORD, lambda each: each.cell.base),
        ("method", WORD, lambda each: each.cell.variant.full_name),
        ("size", COUNT, lambda each: each.cell.size),
        ("rows of all tasks", AMOUNT, lambda each: each.cost.rows),
        ("trained parameters", COUNT, lambda each: each.cost.trained_params),
        ("training tokens", COUNT, lambda each: each.cost.train_tokens),
        ("training FLOPs", SCIENTIFIC, lambda each: each.cost.train_flops),
        ("training s", SECONDS, lambda each: each.cost.wall_s),
        *_charges(price, attrgetter("cost.device_hours")),
    )
    trained = [each for each in summaries if each.cell.method != BASE.name]
    return Table.of("Cost of one run (mean over seeds)", "cost", trained, fields)


def study_cost_table(study: ResultSet, price: float | None) -> Table:
    """Cost of all runs of every method, and of the study; each run counts once, on however many bases."""
    trained = {run.key: run for run in study.runs if run.cell.method != BASE.name}.values()
    methods = sorted({run.cell.method for run in trained}, key=_method_order)
    of_method = {name: [run for run in trained if run.cell.method == name] for name in methods}
    groups = [(find_method(name).label, own) for name, own in of_method.items()]
    fields: Fields[tuple[str, list[Run]]] = (
        ("method", WORD, lambda group: group[0]),
        ("runs", COUNT, lambda group: len(group[1])),
        ("training tokens", COUNT, lambda group: _tokens(group[1])),
        ("training FLOPs", SCIENTIFIC, lambda group: _sum(run.cost.train_flops for run in group[1])),
        ("training s", SECONDS, lambda group: _sum(run.cost.wall_s for run in group[1])),
        *_charges(price, _hours),
    )
    title = "Cost of the study (runs with results; their training, not their scoring)"
    return Table.of(title, "study-cost", [*groups, ("all", [*trained])], fields, footer=1)


def _charges(price: float | None, hours: Callable[[Item], float | None]) -> Fields[Item]:
    """Device-hours and what they cost."""
    used = ("device-hours", AMOUNT, hours)
    if price is None:
        return (used,)

    def charge(item: Item) -> float | None:
        taken = hours(item)
        return None if taken is None else taken * price

    return used, (f"price at {price:g} a device-hour", MONEY, charge)


def _tokens(runs: Sequence[Run]) -> int | None:
    tokens = _sum(run.cost.train_tokens for run in runs)
    return None if tokens is None else round(tokens)


def _hours(group: tuple[str, Sequence[Run]]) -> float | None:
    return _sum(run.cost.device_hours for run in group[1])


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _method_order(method: str) -> tuple[int, str]:
    return find_method(method).order, method
