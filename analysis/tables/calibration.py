"""The table of calibration: how far each method's probabilities can be trusted."""

from collections.abc import Sequence

from analysis.stats.aggregate import Comparison
from analysis.stats.calibration import Calibration
from analysis.tables.accuracy import name_of
from analysis.tables.columns import NUMBER_RANGE, SPREAD, WORD, Column
from analysis.tables.table import Table


def calibration_table(calibrations: Sequence[Calibration], comparison: Comparison, slug: str) -> Table:
    """One line a method; the log-loss is that of the whole vocabulary, the others are among the choices."""
    log_losses = {line.cell: line.log_loss for line in comparison.main}
    rows = tuple(
        (
            name_of(each.cell),
            each.acc,
            log_losses[each.cell],
            each.nll,
            each.brier,
            each.ece,
            each.ece_interval,
        )
        for each in calibrations
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
    return Table(
        f"{comparison.base}: calibration of the choices' probabilities", f"calibration-{slug}", columns, rows
    )
