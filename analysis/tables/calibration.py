"""The table of calibration: how far each method's probabilities can be trusted."""

from analysis.stats.findings import Target
from analysis.tables.columns import NUMBER_RANGE, SPREAD, WORD, Column
from analysis.tables.table import Table


def calibration_table(target: Target) -> Table:
    """One row per variant. The log-loss is over the whole vocabulary, all else among the choices."""
    log_losses = {summary.cell: summary.log_loss for summary in target.comparison.headline_summaries}
    rows = tuple(
        (
            each.cell.variant.full_name,
            each.acc,
            log_losses[each.cell],
            each.nll,
            each.brier,
            each.ece,
            each.ece_interval,
        )
        for each in target.calibrations
    )
    columns = (
        Column("method", WORD),
        Column("acc", SPREAD),
        Column("log-loss", SPREAD),
        Column("choice NLL", SPREAD),
        Column("Brier", SPREAD),
        Column("ECE", SPREAD),
        Column("ECE: 95 %", NUMBER_RANGE),
    )
    title = f"{target.base}: calibration of the choices' probabilities"
    return Table(title, f"calibration-{target.slug}", columns, rows)
