"""Few rows and no rows: tasks without a row against controls of the port, log-loss by size, and new tasks."""

from collections.abc import Iterator, Mapping

from analysis.figures.new_tasks import draw_over_new_task_rows, draw_over_source_tasks
from analysis.figures.without_rows import draw_over_rows, draw_over_tasks
from analysis.report.html import MOST_OPEN_ROWS, Block, Tile
from analysis.report.sentences import (
    capitalised,
    count_rows,
    count_seeds,
    join_words,
    state_interval,
    state_lift_interval,
    with_article,
)
from analysis.stats.bootstrap import LEVEL, Interval
from analysis.stats.findings import Target
from analysis.stats.new_tasks import NewTasks, Place, Score, TaskSet
from analysis.stats.task_split import (
    SplitCurve,
    TaskSplit,
    controls_of,
    curves_beside,
    lead_over,
    leading_split,
    share_interval,
)
from analysis.tables.few_rows import (
    against_controls_table,
    calibrated_tasks_table,
    new_tasks_leads_table,
    new_tasks_tables,
    without_rows_table,
)
from analysis.tables.table import DASH, format_number, format_percent, format_percent_range, format_points
from portal.messages import counted
from portal.methods import port_methods

_LEVEL = f"{100 * LEVEL:.0f} %"
_NO_CONTROL = (
    "The study has no control that saw the same rows, so nothing here shows that the tasks' own latents have "
    "a part in it."
)


def without_rows_tiles(target: Target) -> list[Tile]:
    """What share of the calibrated tasks' rise the tasks without a row have, against every control."""
    split = leading_split(target.task_splits)
    if split is None:
        return []
    title = f"of the calibrated tasks' rise, on tasks without a row on {target.base}"
    beside = [_state_lead(target, split, control) for control in controls_of(split, target.task_splits)]
    text = " ".join([describe_split(target, split), *(beside or [_NO_CONTROL])])
    number = DASH if _unknown_share(target, split) else format_percent(split.share)
    return [Tile(number, title, text)]


def without_rows_block(target: Target) -> Block | None:
    """Tables and figures of tasks without a row; None where every task gave rows."""
    split = leading_split(target.task_splits)
    table = without_rows_table(target)
    if table is None:
        return None
    lead = [] if split is None else [describe_split(target, split), *describe_sizes(target, split)]
    lead += [] if split is None else describe_controls(target, split)
    tables = [table, *filter(None, (against_controls_table(target), calibrated_tasks_table(target)))]
    drawings = (draw_over_rows(target), draw_over_tasks(target))
    return Block(
        "Tasks without a row",
        lead=tuple(lead),
        tables=tuple(each for each in tables if len(each.rows) <= MOST_OPEN_ROWS),
        drawings=tuple(filter(None, drawings)),
        folded=tuple(each for each in tables if len(each.rows) > MOST_OPEN_ROWS),
    )


def describe_split(target: Target, split: TaskSplit) -> str:
    """A port's accuracies on both groups of tasks, and the share of the rise, with its interval."""
    seen, unseen = split.calibrated, split.without_rows
    rows = "" if split.cell.size is None else f" with {count_rows(split.cell.size)} each"
    acc, base = unseen.acc.mean, unseen.base_acc.mean
    word = {"accuracy": "an accuracy", "score": "a score"}[target.comparison.score_word]
    text = (
        f"On {target.base}, {split.cell.variant.full_name}, calibrated on {split.num_calibrated} of "
        f"{split.num_tasks} tasks{rows} ({count_seeds(seen.acc.n)}), has {word} of {format_number(acc)} "
        f"on the tasks without a row (frozen base {format_number(base)}) and of "
        f"{format_number(seen.acc.mean)} on the calibrated ones "
        f"(frozen base {format_number(seen.base_acc.mean)})"
    )
    unknown = _unknown_share(target, split)
    if unknown is not None:
        return f"{text}; what share of the rise that is cannot be said: {unknown}."
    interval = share_interval(split, target.split_bootstrap)
    limits = "" if interval is None else f" ({_LEVEL} interval {format_percent_range(interval)})"
    return f"{text}: {format_percent(split.share)} of their rise{limits}."


def _unknown_share(target: Target, split: TaskSplit) -> str | None:
    """Why the share of the rise says nothing; None where it says something."""
    interval = share_interval(split, target.split_bootstrap)
    return split.share.reason or (None if interval is None else interval.reason)


def describe_sizes(target: Target, split: TaskSplit) -> list[str]:
    """One sentence with the share of the rise at the port's other sizes, where it says something."""
    panel = curves_beside(split, target.task_splits)
    own = next((curve.splits for curve in panel.curves if split in curve.splits), ())
    parts = []
    for each in own:
        if each is split or _unknown_share(target, each) is not None:
            continue
        interval = share_interval(each, target.split_bootstrap)
        limits = "" if interval is None else f" ({format_percent_range(interval)})"
        parts.append(f"{format_percent(each.share)}{limits} with {count_rows(each.cell.size or 0)}")
    return [f"With other numbers of rows that share is {join_words(parts)}."] if parts else []


def describe_controls(target: Target, split: TaskSplit) -> list[str]:
    """A sentence for every control: with how many rows the port is ahead of it on tasks without a row."""
    panel = curves_beside(split, target.task_splits)
    port = next((curve for curve in panel.curves if split in curve.splits), None)
    controls = [curve for curve in panel.curves if not curve.is_port]
    if port is None:
        return []
    found = [_describe_control(target, port, control) for control in controls]
    return [text for text in found if text is not None] or [_NO_CONTROL]


def describe_losses(target: Target) -> list[str]:
    """A sentence for every port: with how many rows its log-loss is below the per-task LoRA's."""
    by_port: dict[str, dict[int, Interval]] = {}
    for loss in target.losses:
        size, difference = loss.cell.size, loss.difference
        if loss.cell.method in port_methods() and size is not None and difference is not None:
            by_port.setdefault(loss.cell.variant.full_name, {})[size] = difference
    return [
        f"{name} has a log-loss "
        + _clauses(differences, "the per-task LoRA's", "below", "above")
        + f" ({_LEVEL} intervals of the paired difference)."
        for name, differences in by_port.items()
    ]


def _describe_control(target: Target, port: SplitCurve, control: SplitCurve) -> str | None:
    """One sentence on the differences at the sizes where both saw the same rows; None without any."""
    pairs = [
        (size, first, second)
        for size, first in zip(port.places, port.splits, strict=True)
        for other, second in zip(control.places, control.splits, strict=True)
        if size == other and second in controls_of(first, target.task_splits)
    ]
    differences = {size: lead_over(first, second, target.split_bootstrap) for size, first, second in pairs}
    if not pairs:
        return None
    known = {size: difference for size, difference in differences.items() if difference.value is not None}
    name, other = port.variant.label, with_article(control.splits[0].cell)
    if not known:
        return f"{capitalised(other)} cannot be compared: {differences[max(differences)].reason}."
    most = max(known)
    if any(difference.low is None for difference in known.values()):
        points = format_points(known[most].value or 0.0)
        return (
            f"On tasks without a row {name} differs from {other} by {points} points with {count_rows(most)}."
        )
    clauses = _clauses(known, other, "behind", "ahead of")
    return (
        f"On tasks without a row {name} is {clauses} (with {count_rows(most)}: "
        f"{format_points(known[most].value or 0.0)} points, {state_interval(known[most])})."
    )


def _state_lead(target: Target, split: TaskSplit, control: TaskSplit) -> str:
    """One sentence on how far a control is behind the port, or ahead of it, on tasks without a row."""
    difference = lead_over(split, control, target.split_bootstrap)
    name = capitalised(with_article(control.cell))
    if difference.value is None:
        return f"{name} cannot be compared: {difference.reason}."
    points = format_points(abs(difference.value)).removeprefix("+")
    side = "behind" if difference.value > 0 else "ahead"
    if difference.low is None:
        return f"{name} is {points} points {side}, without an interval."
    if not difference.excludes_zero:
        return (
            f"{name} is not distinguishable from it ({points} points {side}, {state_interval(difference)})."
        )
    return f"{name} is {points} points {side} (port less control: {state_interval(difference)})."


def _clauses(differences: Mapping[int, Interval], other: str, below: str, above: str) -> str:
    """`ahead of the LoRA with 4 and 16 rows per task, not distinguishable from it with 1`."""
    same = "not distinguishable from"
    groups: dict[str, list[int]] = {below: [], same: [], above: []}
    for size, difference in sorted(differences.items()):
        verdict = same if not difference.excludes_zero else below if (difference.value or 0) < 0 else above
        groups[verdict].append(size)
    ordered = sorted(
        ((words, sizes) for words, sizes in groups.items() if sizes), key=lambda one: -len(one[1])
    )
    parts = []
    for place, (words, sizes) in enumerate(ordered):
        numbers = join_words([f"{size:,}" for size in sizes])
        unit = f" {'row' if sizes == [1] else 'rows'} per task" if place == 0 else ""
        parts.append(f"{words} {'it' if place else other} with {numbers}{unit}")
    return ", ".join(parts)


def new_tasks_block(target: Target) -> Block | None:
    """Sentences, figures and tables of new tasks; None where the study has none on this base."""
    found, tables = target.new_tasks, new_tasks_tables(target)
    if found is None:
        return None
    drawings = (draw_over_source_tasks(target), draw_over_new_task_rows(target))
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
