"""Tables of two studies side by side: every method's accuracy in both, and by task."""

from collections.abc import Sequence

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.epoch_selection import RULE_TITLES
from analysis.stats.pairs import Pair
from analysis.stats.quantities import Spread
from analysis.tables.columns import COUNT, PERCENT, POINTS, POINTS_RANGE, SPREAD, WORD, Column
from analysis.tables.reasons import lift_reasons
from analysis.tables.table import Table


def pair_table(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table:
    """One row per pair: accuracy in both studies, the difference with its interval, lift in both."""
    rows = [
        (
            pair.cell.variant.label,
            pair.cell.variant.settings or None,
            pair.cell.size,
            *(None if summary is None else summary.acc for summary in pair.summaries),
            pair.difference.value,
            pair.difference,
            *(None if summary is None else summary.lift for summary in pair.summaries),
        )
        for pair in pairs
    ]
    columns = (
        Column("method", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column(names[0], SPREAD),
        Column(names[1], SPREAD),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column(f"{names[0]}: lift", PERCENT),
        Column(f"{names[1]}: lift", PERCENT),
    )
    chosen = any(comparison.chosen for comparison in comparisons)
    rule = RULE_TITLES[comparisons[0].rule] if chosen else "the only epoch scored"
    title = f"{comparisons[0].base}: {comparisons[0].score_name}, {rule}"
    reasons = _pair_reasons(comparisons, pairs, names)
    return Table(title, f"pair-{slug}", columns, tuple(rows), tuple(reasons))


def pair_task_table(
    comparison: Comparison, pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table:
    """One row per task: accuracy in both studies of every method that both have."""
    both = [pair for pair in pairs if pair.is_in_both]
    tasks = sorted(
        {
            task
            for pair in both
            for summary in pair.summaries
            if summary is not None
            for task in summary.per_task
        }
    )
    columns = [Column("task", WORD)]
    for pair in both:
        columns += [Column(f"{pair.name}, {name}", SPREAD) for name in names]
    rows = [
        (task, *(_task_score(summary, task) for pair in both for summary in pair.summaries)) for task in tasks
    ]
    title = f"{comparison.base}: {comparison.score_name} by task"
    return Table(title, f"pair-tasks-{slug}", tuple(columns), tuple(rows))


def _task_score(summary: MethodSummary | None, task: str) -> Spread | None:
    return None if summary is None else summary.per_task.get(task)


def _pair_reasons(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str]
) -> list[str]:
    """Why a lift, a result or a difference is missing."""
    reasons = []
    for place, (comparison, name) in enumerate(zip(comparisons, names, strict=True)):
        own = [summary for pair in pairs if (summary := pair.summaries[place]) is not None]
        reasons += [f"{name}, {reason}" for reason in lift_reasons(comparison, own)]
    for pair in pairs:
        reasons += [
            f"{pair.name}: no result in {name}"
            for summary, name in zip(pair.summaries, names, strict=True)
            if summary is None or summary.acc.mean is None
        ]
        if pair.is_in_both and pair.difference.reason:
            reasons.append(f"{pair.name}: no difference, for {pair.difference.reason}")
    return reasons
