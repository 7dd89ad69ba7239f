"""The table of log-loss by size: every method with its interval, and against the per-task LoRA."""

from analysis.stats.findings import Target
from analysis.stats.loss_by_size import SizedLoss
from analysis.tables.columns import COUNT, NUMBER, NUMBER_RANGE, SPREAD, VERDICT, WORD, Column
from analysis.tables.table import Table


def log_loss_table(target: Target) -> Table | None:
    """One row per method and size; None where nothing was trained at a size."""
    if not target.losses:
        return None
    rows = tuple(
        (
            loss.cell.variant.full_name,
            _verdict(loss),
            loss.cell.size,
            loss.log_loss,
            loss.interval,
            None if loss.difference is None else loss.difference.value,
            loss.difference,
        )
        for loss in target.losses
    )
    columns = (
        Column("method", WORD),
        Column("verdict", VERDICT),
        Column("size", COUNT),
        Column("log-loss", SPREAD),
        Column("log-loss: 95 %", NUMBER_RANGE),
        Column("difference from the LoRA's", NUMBER),
        Column("difference from the LoRA's: 95 %", NUMBER_RANGE),
    )
    title = f"{target.base}: log-loss by rows per task (nats per token, task mean)"
    return Table(title, f"log-loss-{target.slug}", columns, rows)


def _verdict(loss: SizedLoss) -> str | None:
    difference = loss.difference
    if difference is None or difference.value is None:
        return None
    if not difference.excludes_zero:
        return "not distinguishable"
    return "below the LoRA's" if difference.value < 0 else "above the LoRA's"
