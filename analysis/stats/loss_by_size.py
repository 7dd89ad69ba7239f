"""`SizedLoss`: the log-loss of a variant at one size, and how far it is from the per-task LoRA's there."""

from dataclasses import dataclass

from analysis.stats.aggregate import Comparison
from analysis.stats.bootstrap import Bootstrap, Interval
from analysis.stats.quantities import Spread
from analysis.stats.result_table import Cell


@dataclass(frozen=True)
class SizedLoss:
    """The log-loss of a cell with its interval, and its difference from the LoRA's at the same size.

    The difference is paired, over the seeds that both have; None where there is no such LoRA, and for the
    LoRA itself. Intervals are None without predictions.
    """

    cell: Cell
    log_loss: Spread
    interval: Interval | None
    difference: Interval | None


def find_losses(comparison: Comparison, bootstrap: Bootstrap | None) -> tuple[SizedLoss, ...]:
    """Every variant at every size that has a log-loss, in the comparison's order."""
    lora = comparison.reference_lora
    losses = []
    for summary in comparison.summaries:
        cell = summary.cell
        if cell.size is None or summary.log_loss.mean is None:
            continue
        interval = difference = None
        if bootstrap is not None:
            interval = bootstrap.known_estimate(cell)
            if lora is not None and cell.variant != lora.cell.variant:
                against = Cell(cell.base, lora.cell.variant, cell.size)
                difference = bootstrap.known_difference(cell, against)
        losses.append(SizedLoss(cell, summary.log_loss, interval, difference))
    return tuple(losses)
