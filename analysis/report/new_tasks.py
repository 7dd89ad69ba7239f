"""New tasks in a report: what share of a LoRA's lift comes along, and how far that is above every control."""

from collections.abc import Iterator

from analysis.figures.new_tasks import draw_over_rows, draw_over_source_tasks
from analysis.report.document import Block
from analysis.report.sentences import capitalised, join_words, state_interval
from analysis.stats.bootstrap import LEVEL
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, TaskSet
from analysis.tables.columns import format_percent, format_percent_range
from analysis.tables.new_tasks import new_tasks_table

_LEVEL = f"{100 * LEVEL:.0f} %"
_MOST_OPEN_ROWS = 12
"""A longer table is folded: the figures show what it says."""


def new_tasks_block(target: Target) -> Block | None:
    """Sentences, figures and the table of new tasks; None where the study has none on this base."""
    found, table = target.new_tasks, new_tasks_table(target)
    if found is None or table is None:
        return None
    drawings = (draw_over_source_tasks(target), draw_over_rows(target))
    is_open = len(table.rows) <= _MOST_OPEN_ROWS
    return Block(
        "New tasks",
        lead=tuple(_describe(found)),
        tables=(table,) if is_open else (),
        drawings=tuple(filter(None, drawings)),
        folded=() if is_open else (table,),
    )


def _describe(found: NewTasks) -> Iterator[str]:
    """For every method and number of rows, with the most source tasks, a sentence per set of tasks."""
    most = max(place.tasks or 0 for place in found.places)
    for place in found.places:
        if place.is_main and place.tasks == most:
            for tasks in found.sets:
                yield from _sentence(found, place, tasks)


def _sentence(found: NewTasks, place: Place, tasks: TaskSet) -> Iterator[str]:
    score = found.score(place, tasks)
    if score is None:
        return
    lora = tasks.comparison.reference_lora
    rows = "" if not place.cell.size else f" with {place.cell.size} rows per task"
    reached = (
        ""
        if score.summary.lift.value is None or lora is None
        else f", {format_percent(score.summary.lift)} of the lift of a LoRA with {lora.cell.size} rows"
    )
    if reached and score.lift is not None and score.lift.low is not None:
        reached += f" ({_LEVEL} interval {format_percent_range(score.lift)})"
    against = [text for control in found.controls_of(place) if (text := _lead(found, place, control, tasks))]
    yield capitalised(
        f"{found.names[place.cell]} from a source of {place.tasks} tasks have {score.summary.acc.known:.3f}"
        f"{rows} on the {len(tasks.tasks)} tasks of {tasks.title}{reached}"
        + (f". They are {join_words(against)}." if against else ".")
    )


def _lead(found: NewTasks, place: Place, control: Place, tasks: TaskSet) -> str | None:
    """`ahead of the port with the mean latent (95 % interval ...)`; None where they cannot be compared."""
    if tasks.bootstrap is None:
        return None
    difference = tasks.bootstrap.known_difference(place.cell, control.cell)
    if difference is None or difference.value is None:
        return None
    verdict = "not distinguishable from"
    if difference.excludes_zero:
        verdict = "ahead of" if difference.value > 0 else "behind"
    article = "the " if control.cell.spec.article else ""
    return f"{verdict} {article}{found.names[control.cell]} ({state_interval(difference)})"
