"""The table of new tasks: methods by rows of a new task and by the number of their source's tasks."""

from analysis.stats.findings import Target
from analysis.stats.new_tasks import Score
from analysis.tables.columns import COUNT, NUMBER_RANGE, PERCENT, PERCENT_RANGE, SPREAD, WORD, Column
from analysis.tables.table import Table


def new_tasks_table(target: Target) -> Table | None:
    """A row for the base, each LoRA and each method with a source, by rows and source; None without any.

    Rows per task are those of a new task that a method saw; a dash where it saw none of its own.
    """
    found = target.new_tasks
    if found is None:
        return None
    rows = []
    for place in found.places:
        cells: list[object] = [
            found.name(place), place.rows, place.num_tasks, place.num_kinds or None
        ]  # fmt: skip
        for tasks in found.sets:
            cells += _cells(tasks.scores.get(place.cell))
        rows.append(tuple(cells))
    columns = [
        Column("method", WORD),
        Column("rows per task", COUNT),
        Column("source tasks", COUNT),
        Column("kinds of these", COUNT),
    ]
    for tasks in found.sets:
        columns += [
            Column(f"{tasks.title}: {target.score_name}", SPREAD),
            Column(f"{tasks.title}: 95 %", NUMBER_RANGE),
            Column(f"{tasks.title}: lift", PERCENT),
            Column(f"{tasks.title}: lift, 95 %", PERCENT_RANGE),
        ]
    reasons = [
        f"{tasks.title}, lift of {found.name(place)}: {score.summary.lift.reason}"
        for tasks in found.sets
        for place in found.places
        if place.source_tasks
        and (score := tasks.scores.get(place.cell)) is not None
        and score.summary.lift.value is None
    ]
    title = f"{target.base}: new tasks by rows and by number of source tasks"
    return Table(
        title, f"new-tasks-{target.slug}", tuple(columns), tuple(rows), tuple(dict.fromkeys(reasons))
    )


def _cells(score: Score | None) -> tuple[object, object, object, object]:
    if score is None:
        return None, None, None, None
    return score.summary.acc, score.accuracy, score.summary.lift, score.lift
