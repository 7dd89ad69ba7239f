"""New tasks in a report: what share of a LoRA's lift comes along, and which controls that is ahead of."""

from collections.abc import Iterator

from analysis.figures.new_tasks import draw_over_rows, draw_over_source_tasks
from analysis.report.document import MOST_OPEN_ROWS, Block
from analysis.report.sentences import capitalised, count_rows, join_words, state_lift_interval
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from analysis.tables.columns import format_percent
from analysis.tables.new_tasks import new_tasks_leads_table, new_tasks_tables
from portal.messages import counted


def new_tasks_block(target: Target) -> Block | None:
    """Sentences, figures and tables of new tasks; None where the study has none on this base."""
    found, tables = target.new_tasks, new_tasks_tables(target)
    if found is None:
        return None
    drawings = (draw_over_source_tasks(target), draw_over_rows(target))
    leads = new_tasks_leads_table(target)
    is_open = sum(len(table.rows) for table in tables) <= MOST_OPEN_ROWS
    return Block(
        "New tasks",
        lead=tuple(_describe(found)),
        tables=tables if is_open else (),
        drawings=tuple(filter(None, drawings)),
        folded=(*(() if is_open else tables), *filter(None, [leads])),
    )


def _describe(found: NewTasks) -> Iterator[str]:
    """For each set: what a LoRA adds, then methods with the largest source, then where half the lift is."""
    mains = [place for place in found.places if place.is_main]
    for tasks in found.sets:
        headroom = _headroom(tasks)
        if headroom:
            yield headroom
        for place in mains:
            score = tasks.scores.get(place.cell)
            if score is not None and place.num_tasks == found.most_tasks:
                yield _sentence(found, place, tasks, score)
        for family in dict.fromkeys(place.family for place in mains):
            half = _half_way(found, tasks, family)
            if half:
                yield half


def _headroom(tasks: TaskSet) -> str | None:
    """How much of what the frozen base leaves to be won a LoRA wins."""
    base, lora = tasks.comparison.frozen_base, tasks.comparison.reference_lora
    if base is None or lora is None or base.acc.mean is None or lora.acc.mean is None:
        return None
    if lora.cell.size is None or base.acc.mean >= 1:
        return None
    word = tasks.comparison.score_word
    share = (lora.acc.mean - base.acc.mean) / (1 - base.acc.mean)
    return (
        f"On {len(tasks.tasks)} {tasks.title} the frozen base has {word} {base.acc.mean:.3f} and a LoRA with "
        f"{count_rows(lora.cell.size)} {lora.acc.mean:.3f}: {100 * share:.0f} % of what is left to be gained."
    )


def _sentence(found: NewTasks, place: Place, tasks: TaskSet, score: Score) -> str:
    rows = f"with {count_rows(place.rows)} per task" if place.rows else "without a row of them"
    lora, lift = tasks.comparison.reference_lora, score.summary.lift
    reached = ""
    if lift.value is not None and lora is not None and lora.cell.size is not None:
        reached = (
            f", {format_percent(lift)} of the lift of a LoRA with {count_rows(lora.cell.size)}"
            f"{state_lift_interval(score.lift)}"
        )
    verdicts = _verdicts(found, place, tasks)
    return capitalised(
        f"{found.name(place)} from a source of {place.num_tasks} tasks, {rows}: "
        f"{tasks.comparison.score_word} {score.summary.acc.known:.3f} on {len(tasks.tasks)} "
        f"{tasks.title}{reached}" + (f"; {verdicts}." if verdicts else ".")
    )


def _verdicts(found: NewTasks, place: Place, tasks: TaskSet) -> str:
    """`ahead of A and B, behind C, not distinguishable from D`; the table of leads has the numbers."""
    names: dict[str, list[str]] = {"ahead of": [], "behind": [], "not distinguishable from": []}
    for rival in found.rivals_of(place):
        lead = tasks.lead(place, rival)
        if lead is not None and lead.value is not None:
            side = "ahead of" if lead.value > 0 else "behind"
            names[side if lead.excludes_zero else "not distinguishable from"].append(
                _rival_name(found, place, rival)
            )
    return ", ".join(f"{verdict} {join_words(rivals)}" for verdict, rivals in names.items() if rivals)


def _rival_name(found: NewTasks, place: Place, rival: Place) -> str:
    """With its rows where these are others than the place's."""
    name = f"the {found.name(rival)}" if rival.cell.spec.article else found.name(rival)
    return f"{name} with {count_rows(rival.rows)}" if rival.rows and rival.rows != place.rows else name


def _half_way(found: NewTasks, tasks: TaskSet, family: str) -> str | None:
    reached = found.half_way(tasks, family)
    if reached is None:
        return None
    name = found.name(reached.best)
    rows = f"with {count_rows(reached.best.rows)}" if reached.best.rows else "without a row"
    if reached.first is not None:
        where = f"from a source of {_source(reached.first)} on"
        return capitalised(
            f"{name}, {rows}, have half of the LoRA's lift on {len(tasks.tasks)} {tasks.title} {where}."
        )
    return capitalised(
        f"{name}, {rows}, have half of the LoRA's lift on {len(tasks.tasks)} {tasks.title} from no source; "
        f"the most is {100 * reached.lift:.0f} % ({_source(reached.best)})."
    )


def _source(place: Place) -> str:
    """`35 tasks of 14 kinds`."""
    tasks, kinds = place.num_tasks or 0, len(place.source_kinds)
    of = f" of {counted(kinds, 'kind')}" if kinds else ""
    return f"{counted(tasks, 'task')}{of}"
