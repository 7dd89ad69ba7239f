"""New tasks in a report: what share of a LoRA's lift comes along, and how far that is above every control."""

from collections.abc import Iterator

from analysis.figures.new_tasks import draw_over_rows, draw_over_source_tasks
from analysis.report.document import MOST_OPEN_ROWS, Block
from analysis.report.sentences import capitalised, count_rows, join_words, state_interval, state_lift_interval
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from analysis.tables.columns import format_percent, format_points
from analysis.tables.new_tasks import new_tasks_table


def new_tasks_block(target: Target) -> Block | None:
    """Sentences, figures and the table of new tasks; None where the study has none on this base."""
    found, table = target.new_tasks, new_tasks_table(target)
    if found is None or table is None:
        return None
    drawings = (draw_over_source_tasks(target), draw_over_rows(target))
    is_open = len(table.rows) <= MOST_OPEN_ROWS
    return Block(
        "New tasks",
        lead=tuple(_describe(found)),
        tables=(table,) if is_open else (),
        drawings=tuple(filter(None, drawings)),
        folded=() if is_open else (table,),
    )


def _describe(found: NewTasks) -> Iterator[str]:
    """For every method and number of rows, with the most source tasks, a sentence per set of tasks."""
    mains = [place for place in found.places if place.is_main]
    most = max((place.num_tasks or 0 for place in mains), default=0)
    for place in mains:
        if place.num_tasks == most:
            for tasks in found.sets:
                score = tasks.scores.get(place.cell)
                if score is not None:
                    yield _sentence(found, place, tasks, score)


def _sentence(found: NewTasks, place: Place, tasks: TaskSet, score: Score) -> str:
    rows = f"with {count_rows(place.rows)} per task" if place.rows else "without a row of them"
    lora, lift = tasks.comparison.reference_lora, score.summary.lift
    reached = ""
    if lift.value is not None and lora is not None and lora.cell.size is not None:
        reached = (
            f", {format_percent(lift)} of the lift of a LoRA with {count_rows(lora.cell.size)}"
            f"{state_lift_interval(score.lift)}"
        )
    against = [text for control in found.controls_of(place) if (text := _lead(found, place, control, tasks))]
    return capitalised(
        f"{found.name(place)} from a source of {place.num_tasks} tasks, {rows}: "
        f"{tasks.comparison.score_word} {score.summary.acc.known:.3f} on {len(tasks.tasks)} "
        f"{tasks.title}{reached}" + (f"; {join_words(against)}." if against else ".")
    )


def _lead(found: NewTasks, place: Place, control: Place, tasks: TaskSet) -> str | None:
    """`9.1 points ahead of the port with the mean latent (95 % interval ...)`; None without shared seeds."""
    if tasks.bootstrap is None:
        return None
    difference = tasks.bootstrap.known_difference(place.cell, control.cell)
    if difference is None or difference.value is None:
        return None
    name = f"the {found.name(control)}" if control.cell.spec.article else found.name(control)
    if control.rows:
        name += f" with {count_rows(control.rows)}"
    if not difference.excludes_zero:
        return f"not distinguishable from {name} ({state_interval(difference)})"
    verdict = "ahead of" if difference.value > 0 else "behind"
    points = format_points(abs(difference.value)).lstrip("+")
    return f"{points} points {verdict} {name} ({state_interval(difference)})"
