"""The table of calibration: how far each method's probabilities can be trusted."""

from collections.abc import Sequence

from analysis.calibration import Calibration
from analysis.column import NUMBER_RANGE, SPREAD, WORD, Column
from analysis.table import Table
from analysis.tables import name_of


def calibration_table(calibrations: Sequence[Calibration], base: str, slug: str) -> Table:
    """One line a method."""
    rows = tuple(
        (
            name_of(each.cell),
            each.acc,
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
        Column("choice NLL", SPREAD),
        Column("Brier", SPREAD),
        Column("ECE", SPREAD),
        Column("ECE: 95 % interval", NUMBER_RANGE),
    )
    return Table(f"{base}: calibration of the choices' probabilities", f"calibration-{slug}", columns, rows)
