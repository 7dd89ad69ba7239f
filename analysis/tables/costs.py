"""Tables of cost: of the training of one run, by variant, and of all runs of a study."""

from collections.abc import Iterable, Sequence
from math import fsum

from analysis.stats.aggregate import Comparison
from analysis.stats.result_table import ResultSet, Run
from analysis.tables.columns import AMOUNT, COUNT, SCIENTIFIC, SECONDS, WORD, Column, Kind
from analysis.tables.table import Table
from portal.methods import BASE, find_method

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
