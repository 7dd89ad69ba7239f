"""What a study's training took: of one run of every main line, and of all runs together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

from analysis.aggregate import Comparison
from analysis.column import AMOUNT, COUNT, SCIENTIFIC, SECONDS, WORD, Column, Kind
from analysis.runs import METHOD_LABELS, METHOD_ORDER, Run, Study
from analysis.table import Table
from analysis.tables import name_of

MONEY = Kind(lambda value: f"{value:,.2f}" if value >= 1 else f"{value:.3g}")


@dataclass(frozen=True)
class Rate:
    """How a second of training is charged: the share of a device that a worker holds, and an hour's price.

    The price is in the reader's currency, null when none was stated.
    """

    device_share: float = 1.0
    price: float | None = None

    def hours(self, wall_s: float | None) -> float | None:
        return None if wall_s is None else wall_s / 3600 * self.device_share

    def charge(self, wall_s: float | None) -> float | None:
        hours = self.hours(wall_s)
        return None if hours is None or self.price is None else hours * self.price

    def columns(self) -> tuple[Column, ...]:
        hours = Column("device-hours", AMOUNT)
        if self.price is None:
            return (hours,)
        return hours, Column(f"price at {self.price:g} a device-hour", MONEY)

    def fields(self, wall_s: float | None) -> tuple[float | None, ...]:
        """The values of `columns`."""
        return (self.hours(wall_s),) if self.price is None else (self.hours(wall_s), self.charge(wall_s))


def run_cost_table(comparisons: Sequence[Comparison], rate: Rate) -> Table:
    """Mean cost of one run of every main line."""
    rows = tuple(
        (
            comparison.base,
            name_of(line.cell),
            line.cell.size,
            line.cost.trained_params,
            line.cost.train_tokens,
            line.cost.train_flops,
            line.cost.wall_s,
            *rate.fields(line.cost.wall_s),
        )
        for comparison in comparisons
        for line in comparison.main
        if line.cell.method != "base"
    )
    columns = (
        Column("base", WORD),
        Column("method", WORD),
        Column("size", COUNT),
        Column("trained parameters", COUNT),
        Column("training tokens", COUNT),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
        *rate.columns(),
    )
    return Table("Cost of one run (mean over seeds)", "cost", columns, rows)


def study_cost_table(study: Study, rate: Rate) -> Table:
    """Cost of all runs of every method, and of the study."""
    by_key = {run.key: run for run in study.runs if run.cell.method != "base"}
    methods = sorted({run.cell.method for run in by_key.values()}, key=_method_order)
    rows = [
        _total(
            METHOD_LABELS.get(method, method), [r for r in by_key.values() if r.cell.method == method], rate
        )
        for method in methods
    ]
    rows.append(_total("all", list(by_key.values()), rate))
    columns = (
        Column("method", WORD),
        Column("runs", COUNT),
        Column("training tokens", COUNT),
        Column("training FLOPs", SCIENTIFIC),
        Column("training s", SECONDS),
        *rate.columns(),
    )
    return Table(
        "Cost of the study (runs with results; their training, not their scoring)",
        "study-cost",
        columns,
        tuple(rows),
    )


def _total(name: str, runs: Sequence[Run], rate: Rate) -> tuple[object, ...]:
    wall_s = _sum(run.cost.wall_s for run in runs)
    tokens = _sum(run.cost.train_tokens for run in runs)
    return (
        name,
        len(runs),
        None if tokens is None else round(tokens),
        _sum(run.cost.train_flops for run in runs),
        wall_s,
        *rate.fields(wall_s),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _method_order(method: str) -> tuple[int, str]:
    place = METHOD_ORDER.index(method) if method in METHOD_ORDER else -1
    return place, method
