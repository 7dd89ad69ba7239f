"""The table of ports against other methods with as many rows per task."""

from analysis.stats.bootstrap import Interval
from analysis.stats.findings import Target
from analysis.tables.columns import COUNT, POINTS, POINTS_RANGE, VERDICT, WORD, Column
from analysis.tables.table import Table


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
