"""The tables of new tasks: methods by rows and sources, one per set of tasks; their leads over rivals."""

from collections.abc import Iterator

from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from analysis.tables.columns import (
    COUNT,
    NUMBER_RANGE,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SPREAD,
    WORD,
    Column,
)
from analysis.tables.table import Table


def new_tasks_tables(target: Target) -> tuple[Table, ...]:
    """For each set of tasks a row for the base, each LoRA and each method with a source, by rows and source.

    Rows per task are those of a new task that a method saw; a dash where it saw none of its own.
    """
    found = target.new_tasks
    return () if found is None else tuple(_set_table(target, found, tasks) for tasks in found.sets)


def _set_table(target: Target, found: NewTasks, tasks: TaskSet) -> Table:
    columns = (
        Column("method", WORD),
        Column("rows per task", COUNT),
        Column("source tasks", COUNT),
        Column("kinds of these", COUNT),
        Column("tasks of these kinds", COUNT),
        Column(target.score_name, SPREAD),
        Column("95 %", NUMBER_RANGE),
        Column("lift", PERCENT),
        Column("lift, 95 %", PERCENT_RANGE),
    )
    scored = [(place, score) for place in found.places if (score := tasks.scores.get(place.cell)) is not None]
    reasons = [
        f"lift of {found.name(place)}: {score.summary.lift.reason}"
        for place, score in scored
        if place.source_tasks and score.summary.lift.value is None
    ]
    return Table(
        f"{target.base}: {len(tasks.tasks)} {tasks.title}, by rows and by source",
        f"{tasks.slug}-{target.slug}",
        columns,
        tuple(_row(found, tasks, place, score) for place, score in scored),
        tuple(dict.fromkeys(reasons)),
    )


def _row(found: NewTasks, tasks: TaskSet, place: Place, score: Score) -> tuple[object, ...]:
    """`tasks of these kinds` are those of the set whose kind the method's source had."""
    known = tasks.of_kinds(place.source_kinds) if place.source_tasks else None
    return (
        found.name(place),
        place.rows,
        place.num_tasks,
        len(place.source_kinds) or None,
        known,
        score.summary.acc,
        score.accuracy,
        score.summary.lift,
        score.lift,
    )


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
