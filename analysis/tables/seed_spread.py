"""The table of how far the seed decides what a method scores on a task."""

from collections.abc import Sequence

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.seed_spread import find_seed_spreads
from analysis.tables.columns import COUNT, NUMBER, NUMBER_RANGE, WORD, Column
from analysis.tables.table import Table

_COLUMNS = (
    Column("base", WORD),
    Column("method", WORD),
    Column("size", COUNT),
    Column("seeds", COUNT),
    Column("tasks", COUNT),
    Column("pooled std", NUMBER),
    Column("pooled std: 95 %", NUMBER_RANGE),
    Column("largest std", NUMBER),
    Column("of task", WORD),
)


def seed_spread_table(
    comparisons: Sequence[Comparison], sources: Sequence[MethodSummary], score_name: str
) -> Table | None:
    """One row per variant and base at its largest size, sources last; None where none has two seeds."""
    summaries = [each for comparison in comparisons for each in comparison.headline_summaries]
    spreads = find_seed_spreads([*summaries, *sources])
    if not spreads:
        return None
    rows = tuple(
        (
            spread.cell.base,
            spread.cell.variant.full_name,
            spread.cell.size,
            spread.num_seeds,
            spread.num_tasks,
            spread.pooled.value,
            spread.pooled,
            spread.largest,
            spread.largest_task,
        )
        for spread in spreads
    )
    title = f"Spread over seeds: std of a task's {score_name} (intervals draw tasks)"
    return Table(title, "seed-spread", _COLUMNS, rows)
