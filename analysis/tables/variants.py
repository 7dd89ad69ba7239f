"""Tables of one base that set the same runs apart: by selection rule, by variant, and two by two."""

from analysis.stats.findings import Target
from analysis.stats.lift_intervals import comparable_pairs, lift_interval
from analysis.tables.columns import (
    COUNT,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SCIENTIFIC,
    SPREAD,
    VERDICT,
    WORD,
    Column,
)
from analysis.tables.reasons import lift_reasons
from analysis.tables.table import Table


def rules_table(target: Target) -> Table:
    """Accuracy and lift of every variant under every selection rule, side by side."""
    first = next(iter(target.rules.values()))
    rows, reasons = [], []
    for summary in first.headline_summaries:
        name = summary.cell.variant.full_name
        row: list[object] = [name]
        for rule, comparison in target.rules.items():
            found = next(each for each in comparison.summaries if each.cell == summary.cell)
            row += [found.acc, found.lift]
            if found.acc.mean is None:
                reasons.append(f"{name}, {rule}: {found.acc.reason}")
            reasons += [f"{rule}, {reason}" for reason in lift_reasons(comparison, [found])]
        rows.append(tuple(row))
    columns = [Column("method", WORD)]
    for rule in target.rules:
        title = rule.replace("_", " ")
        columns += [Column(title, SPREAD), Column(f"{title}: lift", PERCENT)]
    title = f"{target.base}: the same runs under every selection rule"
    return Table(title, f"rules-{target.slug}", tuple(columns), tuple(rows), tuple(reasons))


def variants_table(target: Target) -> Table | None:
    """Variants of methods that come with several modules, ranks or widths; None when none does."""
    comparison = target.comparison
    summaries = [
        summary
        for summary in comparison.headline_summaries
        if len(comparison.variants(summary.cell.method)) > 1
    ]
    if not summaries:
        return None
    rows = tuple(
        (
            summary.cell.variant.label,
            summary.cell.variant.modules,
            summary.cell.variant.rank,
            summary.cost.trained_params,
            summary.acc,
            summary.lift,
            lift_interval(summary, comparison, target.bootstrap),
            summary.log_loss,
            summary.cost.train_flops,
        )
        for summary in summaries
    )
    columns = (
        Column("method", WORD),
        Column("modules", WORD),
        Column("rank", COUNT),
        Column("trained parameters", COUNT),
        Column(target.score_name, SPREAD),
        Column("recovered lift", PERCENT),
        Column("lift: 95 %", PERCENT_RANGE),
        Column("log-loss", SPREAD),
        Column("training FLOPs", SCIENTIFIC),
    )
    title = f"{target.base}: modules, ranks and widths"
    return Table(title, f"variants-{target.slug}", columns, rows, tuple(lift_reasons(comparison, summaries)))


def comparisons_table(target: Target) -> Table | None:
    """The difference of every two variants, paired, with its interval; None without a bootstrap."""
    bootstrap = target.bootstrap
    if bootstrap is None:
        return None
    rows: list[tuple[object, ...]] = []
    for first, second in comparable_pairs(target.comparison, bootstrap):
        names = first.cell.variant.full_name, second.cell.variant.full_name
        difference = bootstrap.difference(first.cell, second.cell)
        seeds = len(bootstrap.shared_seeds(first.cell, second.cell))
        verdict = "distinguishable" if difference.excludes_zero else "not distinguishable"
        rows.append((*names, verdict, difference.value, difference, seeds or None))
    columns = (
        Column("method", WORD),
        Column("against", WORD),
        Column("verdict", VERDICT),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{target.base}: every two methods and variants (on these tasks)"
    return Table(title, f"comparisons-{target.slug}", columns, tuple(rows))
