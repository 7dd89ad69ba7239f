"""The tables of accuracy on one base, by method and by task, and on the source bases."""

from collections import Counter
from collections.abc import Mapping, Sequence

from analysis.stats.absent_runs import is_in, method_key
from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Interval
from analysis.stats.epoch_selection import RULE_TITLES
from analysis.stats.findings import Target
from analysis.stats.lift import recovered_lift
from analysis.stats.lift_intervals import accuracy_interval, has_no_seed, lift_interval
from analysis.stats.published import published_for
from analysis.stats.quantities import Quantity
from analysis.stats.result_table import MethodKey
from analysis.tables.columns import (
    COUNT,
    NUMBER,
    NUMBER_RANGE,
    PERCENT,
    PERCENT_RANGE,
    SPREAD,
    WORD,
    Column,
    Kind,
)
from analysis.tables.reasons import absent_reason, lift_reasons, missing_size_reasons, summary_reasons
from analysis.tables.table import Table
from portal.methods import LIFT_REFERENCES, find_method
from portal.results import MANY_TASKS, AbsentRun

SEEDS = Kind(
    lambda value: f"{value[0]}" if value[0] == value[1] else f"{value[0]} of {value[1]}",
    tuple,
    ("", " planned"),
)
"""(seeds with results, seeds planned)"""


def _main_columns(score_name: str) -> tuple[Column, ...]:
    return (
        Column("method", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column(score_name, SPREAD),
        Column(f"{score_name}: 95 %", NUMBER_RANGE),
        Column("seeds", SEEDS),
        Column("recovered lift", PERCENT),
        Column("lift: 95 %", PERCENT_RANGE),
        Column("retention", PERCENT),
        Column("log-loss", SPREAD),
    )


def main_table(target: Target) -> Table:
    """One row per variant at its largest size; planned variants without results are rows of dashes."""
    comparison = target.comparison
    summaries = sorted(comparison.headline_summaries, key=lambda each: each.cell.variant.sort_key())
    names = _row_names(summaries)
    rows: list[tuple[object, ...]] = []
    reasons: list[str] = []
    for summary in summaries:
        interval = lift_interval(summary, comparison, target.bootstrap)
        num_planned = _count_planned_seeds(summary, target.absent)
        rows.append(_main_row(summary, names[summary.cell.variant], target, num_planned, interval))
        reasons += summary_reasons(summary, num_planned, interval)
    reasons += lift_reasons(comparison, summaries)
    reasons += missing_size_reasons(summaries, target.absent)
    for run in _absent_rows(comparison, target.absent):
        variant = method_key(run)
        rows.append((variant.label, variant.settings or None, run.size, *[None] * 7))
        reasons.append(absent_reason(run))
    columns = _main_columns(target.score_name)
    return Table(_main_title(comparison), f"main-{target.slug}", columns, tuple(rows), tuple(reasons))


def per_task_table(target: Target) -> Table:
    """Per task: chance, the majority answer's rate, the score of every variant, and the port's lift.

    The task mean comes last. The majority answer's rate is null for tasks whose questions have answers of
    their own. Where tasks share kinds, a column names the kind of each.
    """
    comparison, port = target.comparison, target.port
    summaries = comparison.headline_summaries
    tasks = sorted({task for summary in summaries for task in summary.per_task})
    kinds = {task: kind for kind, own in comparison.kinds.items() for task in own}
    lifts = {} if port is None else {task: _task_lift(comparison, port, task) for task in tasks}
    rows: list[tuple[object, ...]] = []
    for task in tasks:
        named = (task, kinds[task]) if kinds else (task,)
        known = comparison.chance.get(task), comparison.majority.get(task)
        scores = [summary.per_task.get(task) for summary in summaries]
        rows.append((*named, *known, *scores, *([lifts[task]] if port is not None else [])))
    if tasks:
        rows.append(_task_mean_row(comparison, tasks, port))
    columns = [Column("task", WORD), *([Column("kind", WORD)] if kinds else [])]
    columns += [Column("chance", NUMBER), Column("majority", NUMBER)]
    columns += [Column(summary.cell.variant.full_name, SPREAD) for summary in summaries]
    if port is not None:
        columns.append(Column(f"{port.cell.variant.full_name}: lift", PERCENT))
    reasons = _lift_reasons(lifts)
    title, slug = f"{target.base}: {target.score_name} by task", f"tasks-{target.slug}"
    return Table(title, slug, tuple(columns), tuple(rows), tuple(reasons), footer=int(bool(tasks)))


def sources_table(summaries: Sequence[MethodSummary], score_name: str) -> Table:
    """Scores of the joint source runs on their own source bases."""
    rows = tuple(
        (
            summary.cell.base,
            " + ".join(summary.cell.variant.sources or ()),
            summary.cell.variant.settings,
            summary.cell.size,
            summary.acc,
            summary.acc.n,
            summary.log_loss,
        )
        for summary in summaries
    )
    columns = (
        Column("base", WORD),
        Column("trained on", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column(score_name, SPREAD),
        Column("seeds", COUNT),
        Column("log-loss", SPREAD),
    )
    return Table("Joint training on its own source bases", "sources", columns, rows)


def _main_row(
    summary: MethodSummary, name: str, target: Target, num_planned: int, interval: Interval | None
) -> tuple[object, ...]:
    """The values of _main_columns."""
    return (
        name,
        summary.cell.variant.settings or None,
        summary.cell.size,
        summary.acc,
        accuracy_interval(summary, target.bootstrap),
        None if has_no_seed(summary) else (summary.acc.n, num_planned),
        summary.lift,
        interval,
        summary.retention,
        summary.log_loss,
    )


def _row_names(summaries: Sequence[MethodSummary]) -> dict[MethodKey, str]:
    """Labels by variant; with their sources where ports have different ones."""
    variants = [summary.cell.variant for summary in summaries]
    many = len({variant.sources for variant in variants if variant.spec.is_port}) > 1
    return {
        variant: f"{variant.label} from {' + '.join(variant.sources)}"
        if many and variant.sources
        else variant.label
        for variant in variants
    }


def _main_title(comparison: Comparison) -> str:
    """Base and rule, with the paper's table for its bases; no epoch is called chosen where one was scored."""
    published = published_for(comparison.base)
    section = "" if published is None else f" ({published.source})"
    rule = RULE_TITLES[comparison.rule] if comparison.chosen else "the only epoch scored"
    return f"{comparison.base}{section}: {rule}"


def _task_lift(comparison: Comparison, port: MethodSummary, task: str) -> Quantity:
    """The port's recovered lift of one task."""
    compared = (port, comparison.frozen_base, comparison.reference_lora)
    known = [
        each.per_task[task].mean if each is not None and task in each.per_task else None for each in compared
    ]
    return recovered_lift(*known)


def _lift_reasons(lifts: Mapping[str, Quantity]) -> list[str]:
    """Why a lift is missing: of each task, or of many as their number."""
    reasons = {task: lift.reason for task, lift in lifts.items() if lift.reason}
    if len(lifts) <= MANY_TASKS:
        return [f"recovered lift of {task}: {reason}" for task, reason in reasons.items()]
    counts = Counter(reasons.values())
    return [f"recovered lift of {count} tasks: {reason}" for reason, count in counts.items()]


def _task_mean_row(
    comparison: Comparison, tasks: Sequence[str], port: MethodSummary | None
) -> tuple[object, ...]:
    chances = [comparison.chance[task] for task in tasks if task in comparison.chance]
    mean = sum(chances) / len(chances) if chances else None
    accuracies = [summary.acc for summary in comparison.headline_summaries]
    named = ("task mean", None) if comparison.kinds else ("task mean",)
    return (*named, mean, None, *accuracies, *([port.lift] if port is not None else []))


def _count_planned_seeds(summary: MethodSummary, absent: Sequence[AbsentRun]) -> int:
    """Number of planned seeds: those with results, and those that are known to be absent."""
    lacking = {run.seed for run in absent if is_in(run, summary.cell)} - set(summary.seeds)
    return summary.acc.n + len(lacking)


def _absent_rows(comparison: Comparison, planned: Sequence[AbsentRun]) -> list[AbsentRun]:
    """One planned run, of the largest size, for every variant that has no row on this base."""
    shown = {summary.cell.variant for summary in comparison.summaries}
    methods = {variant.method for variant in shown}
    absent: dict[MethodKey, AbsentRun] = {}
    for run in sorted(planned, key=lambda run: -(run.size or 0)):
        if run.method is not None and find_method(run.method).runs_on == "targets":
            known = method_key(run) in shown or (run.label is None and run.method in methods)
            if not known:
                absent.setdefault(method_key(run), run)
    methods |= {variant.method for variant in absent}
    for method in LIFT_REFERENCES:
        if method not in methods:
            run = AbsentRun(method=method, base=comparison.base)
            absent[method_key(run)] = run
    return sorted(absent.values(), key=lambda run: method_key(run).sort_key())
