"""Tables of tasks without a row, against the controls of ports, and of new tasks."""

from collections.abc import Iterator

from analysis.stats.aggregate import Quantity
from analysis.stats.bootstrap import Interval
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from analysis.stats.result_table import Cell
from analysis.stats.task_split import GROUPS, Group, TaskSplit, controls_of, lead_over, share_interval
from analysis.tables.table import (
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
    Fields,
    Table,
)

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
    fields: Fields[TaskSplit] = (
        ("method", WORD, lambda split: split.cell.variant.full_name),
        ("size", COUNT, lambda split: split.cell.size),
        ("tasks calibrated", COUNT, lambda split: split.num_calibrated),
        ("rows of all tasks", AMOUNT, lambda split: split.rows.mean),
        (f"{target.score_name} of all", SPREAD, lambda split: summaries[split.cell].acc),
        (f"{target.score_name} calibrated", SPREAD, lambda split: split.calibrated.acc),
        (f"{target.score_name} without a row", SPREAD, lambda split: split.without_rows.acc),
        ("log-loss of all", SPREAD, lambda split: summaries[split.cell].log_loss),
    )
    title = f"{target.base}: by number of calibrated tasks"
    return Table.of(title, f"calibrated-tasks-{target.slug}", ordered, fields)


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


def new_tasks_tables(target: Target) -> tuple[Table, ...]:
    """For each set of tasks a row for the base, each LoRA and each method with a source, by rows and source.

    Rows per task are those of a new task that a method saw; a dash where it saw none of its own.
    """
    found = target.new_tasks
    return () if found is None else tuple(_set_table(target, found, tasks) for tasks in found.sets)


def _set_table(target: Target, found: NewTasks, tasks: TaskSet) -> Table:
    fields: Fields[tuple[Place, Score]] = (
        ("method", WORD, lambda own: found.name(own[0])),
        ("rows per task", COUNT, lambda own: own[0].rows),
        ("source tasks", COUNT, lambda own: own[0].num_tasks),
        ("kinds of these", COUNT, lambda own: len(own[0].source_kinds) or None),
        ("tasks of these kinds", COUNT, lambda own: _of_known_kinds(tasks, own[0])),
        (target.score_name, SPREAD, lambda own: own[1].summary.acc),
        ("95 %", NUMBER_RANGE, lambda own: own[1].accuracy),
        ("lift", PERCENT, lambda own: own[1].summary.lift),
        ("lift, 95 %", PERCENT_RANGE, lambda own: own[1].lift),
    )
    scored = [(place, score) for place in found.places if (score := tasks.scores.get(place.cell)) is not None]
    reasons = [
        f"lift of {found.name(place)}: {score.summary.lift.reason}"
        for place, score in scored
        if place.source_tasks and score.summary.lift.value is None
    ]
    title = f"{target.base}: {len(tasks.tasks)} {tasks.title}, by rows and by source"
    slug = f"{tasks.slug}-{target.slug}"
    return Table.of(title, slug, scored, fields, reasons=dict.fromkeys(reasons))


def _of_known_kinds(tasks: TaskSet, place: Place) -> int | None:
    """Tasks of the set whose kind the method's source had."""
    return tasks.of_kinds(place.source_kinds) if place.source_tasks else None


def new_tasks_leads_table(target: Target) -> Table | None:
    """For each main method with the largest source: its score less that of each rival; None without any."""
    found = target.new_tasks
    if found is None:
        return None
    rows = tuple(_leads(found))
    if not rows:
        return None
    columns = (
        Column("tasks", WORD),
        Column("method", WORD),
        Column("against", WORD),
        Column("rows per task", COUNT),
        Column("its rows per task", COUNT),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
    )
    title = (
        f"{target.base}: new tasks, methods from a source of {found.most_tasks} tasks against their rivals"
    )
    return Table(title, f"new-tasks-leads-{target.slug}", columns, rows)


def _leads(found: NewTasks) -> Iterator[tuple[object, ...]]:
    for tasks in found.sets:
        for place in found.places:
            if place.is_main and place.num_tasks == found.most_tasks:
                for rival in found.rivals_of(place):
                    lead = tasks.lead(place, rival)
                    if lead is not None:
                        names = tasks.title, found.name(place), found.name(rival)
                        yield (*names, place.rows, rival.rows, lead.value, lead)
