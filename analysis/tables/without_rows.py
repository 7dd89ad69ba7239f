"""The table of tasks without a row: what a port gains on them beside its gain on calibrated tasks."""

from analysis.stats.findings import Target
from analysis.stats.result_table import Cell
from analysis.tables.columns import AMOUNT, COUNT, NUMBER, PERCENT, SPREAD, WORD, Column
from analysis.tables.table import Table


def without_rows_table(target: Target) -> Table | None:
    """Accuracies of both groups of tasks by method and size; None where every task gave rows."""
    if not target.task_splits:
        return None
    columns = [Column("method", WORD), Column("size", COUNT)]
    for group in ("calibrated", "without a row"):
        columns += [
            Column(f"tasks {group}", AMOUNT),
            Column(f"acc_norm {group}", SPREAD),
            Column(f"frozen base {group}", NUMBER),
        ]
    columns.append(Column("share of the rise", PERCENT))
    rows = [
        (
            split.cell.variant.full_name,
            split.cell.size,
            *(
                value
                for group in (split.calibrated, split.without_rows)
                for value in (group.num_tasks.mean, group.acc, group.base_acc.mean)
            ),
            split.share,
        )
        for split in target.task_splits
    ]
    reasons = [
        f"{_cell_name(split.cell)}: {split.share.reason}"
        for split in target.task_splits
        if split.share.reason
    ]
    title = f"{target.base}: tasks without a row"
    return Table(title, f"without-rows-{target.slug}", tuple(columns), tuple(rows), tuple(reasons))


def _cell_name(cell: Cell) -> str:
    """The method, with its size where it is trained at one."""
    name = cell.variant.full_name
    return name if cell.size is None else f"{name} at size {cell.size}"
