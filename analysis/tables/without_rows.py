"""Tables of tasks without a row: accuracy on both groups of tasks, and ports against their controls."""

from analysis.stats.bootstrap import Interval
from analysis.stats.findings import Target
from analysis.stats.quantities import Quantity
from analysis.stats.result_table import Cell
from analysis.stats.split_bootstrap import GROUPS, Group, lead_over, share_interval
from analysis.stats.task_split import TaskSplit, controls_of
from analysis.tables.columns import (
    AMOUNT,
    COUNT,
    NUMBER,
    NUMBER_RANGE,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SPREAD,
    VERDICT,
    WORD,
    Column,
)
from analysis.tables.table import Table

_NAMES: dict[Group, str] = {"calibrated": "calibrated", "without_rows": "without a row"}


def without_rows_table(target: Target) -> Table | None:
    """Accuracies of both groups of tasks by method and size; None where every task gave rows."""
    splits = [split for split in target.task_splits if split.is_partial]
    if not splits:
        return None
    columns = [Column("method", WORD), Column("size", COUNT), Column("rows of all tasks", AMOUNT)]
    for name in _NAMES.values():
        columns += [
            Column(f"tasks {name}", AMOUNT),
            Column(f"{target.score_name} {name}", SPREAD),
            Column(f"95 % {name}", NUMBER_RANGE),
            Column(f"frozen base {name}", NUMBER),
            Column(f"rise {name}", POINTS),
            Column(f"rise {name}: 95 %", POINTS_RANGE),
        ]
    columns += [Column("share of the rise", PERCENT), Column("share: 95 %", PERCENT_RANGE)]
    rows = [
        (
            split.cell.variant.full_name,
            split.cell.size,
            split.rows.mean,
            *(field for group in GROUPS for field in _group_fields(target, split, group)),
            split.share,
            share_interval(split, target.split_bootstrap),
        )
        for split in splits
    ]
    reasons = [reason for split in splits for reason in _reasons(target, split)]
    title = f"{target.base}: tasks without a row"
    return Table(title, f"without-rows-{target.slug}", tuple(columns), tuple(rows), tuple(reasons))


def against_controls_table(target: Target) -> Table | None:
    """Every port less every control of it, on the tasks without a row; None where no port has a control."""
    rows: list[tuple[object, ...]] = []
    reasons: list[str] = []
    for port in target.task_splits:
        for control in controls_of(port, target.task_splits) if port.is_port and port.is_partial else ():
            difference = lead_over(port, control, target.split_bootstrap)
            if difference.reason:
                pair = f"{_cell_name(port.cell)} less {_cell_name(control.cell)}"
                reasons.append(f"{pair}: {difference.reason}")
            rows.append(
                (
                    port.cell.variant.full_name,
                    control.cell.variant.full_name,
                    _verdict(difference),
                    port.num_calibrated,
                    port.cell.size,
                    difference.value,
                    difference,
                    len(port.unseen.keys() & control.unseen.keys()),
                )
            )
    if not rows:
        return None
    columns = (
        Column("port", WORD),
        Column("control", WORD),
        Column("verdict", VERDICT),
        Column("tasks calibrated", COUNT),
        Column("size", COUNT),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{target.base}: ports less their controls, on tasks without a row"
    return Table(title, f"without-rows-controls-{target.slug}", columns, tuple(rows), tuple(reasons))


def calibrated_tasks_table(target: Target) -> Table | None:
    """Accuracy and log-loss on all tasks by number of calibrated tasks; None where that is one number."""
    if len({split.num_calibrated for split in target.task_splits}) < 2:
        return None
    summaries = {summary.cell: summary for summary in target.kept.summaries}
    ordered = sorted(
        target.task_splits,
        key=lambda split: (split.cell.spec.order, split.cell.size or 0, split.num_calibrated),
    )
    rows = [
        (
            split.cell.variant.full_name,
            split.cell.size,
            split.num_calibrated,
            split.rows.mean,
            summaries[split.cell].acc,
            split.calibrated.acc,
            split.without_rows.acc,
            summaries[split.cell].log_loss,
        )
        for split in ordered
    ]
    columns = (
        Column("method", WORD),
        Column("size", COUNT),
        Column("tasks calibrated", COUNT),
        Column("rows of all tasks", AMOUNT),
        Column(f"{target.score_name} of all", SPREAD),
        Column(f"{target.score_name} calibrated", SPREAD),
        Column(f"{target.score_name} without a row", SPREAD),
        Column("log-loss of all", SPREAD),
    )
    title = f"{target.base}: by number of calibrated tasks"
    return Table(title, f"calibrated-tasks-{target.slug}", columns, tuple(rows))


def _group_fields(target: Target, split: TaskSplit, group: Group) -> tuple[object, ...]:
    """Number of tasks, accuracy, the base's, and the rise, of one group."""
    own = split.calibrated if group == "calibrated" else split.without_rows
    bootstrap = target.split_bootstrap
    acc = None if bootstrap is None else bootstrap.accuracy(split.cell, group)
    rise = None if bootstrap is None else bootstrap.rise_of(split.cell, group)
    return own.num_tasks.mean, own.acc, acc, own.base_acc.mean, own.rise, rise


def _verdict(difference: Interval) -> str | None:
    if difference.value is None or difference.low is None:
        return None
    if not difference.excludes_zero:
        return "not distinguishable"
    return "port ahead" if difference.value > 0 else "control ahead"


def _reasons(target: Target, split: TaskSplit) -> list[str]:
    """Why a share, or its interval, is left out."""
    interval = share_interval(split, target.split_bootstrap)
    reasons = (split.share, Quantity(None, None if interval is None else interval.reason))
    return [f"{_cell_name(split.cell)}: {each.reason}" for each in reasons if each.reason]


def _cell_name(cell: Cell) -> str:
    """The method, with its size where it is trained at one."""
    name = cell.variant.full_name
    return name if cell.size is None else f"{name} at size {cell.size}"
