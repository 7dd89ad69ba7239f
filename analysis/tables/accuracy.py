"""Tables of accuracy: on one base, on all, by kind, rule and variant, and of two studies; their reasons."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from analysis.stats.aggregate import (
    RULE_TITLES,
    Comparison,
    MethodSummary,
    Quantity,
    Spread,
    accuracy_on,
    lift_on,
    mean_chance,
    recovered_lift,
    retention,
)
from analysis.stats.bootstrap import (
    Interval,
    SeedSpread,
    accuracy_interval,
    comparable_pairs,
    find_seed_spreads,
    has_no_seed,
    lift_interval,
)
from analysis.stats.calibration import Calibration
from analysis.stats.findings import Pair, Target
from analysis.stats.published import published_for
from analysis.stats.result_table import Cell, MethodKey, describe_absent, is_in, method_key
from analysis.tables.table import (
    COUNT,
    NUMBER,
    NUMBER_RANGE,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SCIENTIFIC,
    SPREAD,
    VERDICT,
    WORD,
    Column,
    Fields,
    Kind,
    Table,
)
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
    fields: Fields[MethodSummary] = (
        ("base", WORD, lambda each: each.cell.base),
        ("trained on", WORD, lambda each: " + ".join(each.cell.variant.sources or ())),
        ("adapter", WORD, lambda each: each.cell.variant.settings),
        ("size", COUNT, lambda each: each.cell.size),
        (score_name, SPREAD, lambda each: each.acc),
        ("seeds", COUNT, lambda each: each.acc.n),
        ("log-loss", SPREAD, lambda each: each.log_loss),
    )
    return Table.of("Joint training on its own source bases", "sources", summaries, fields)


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


NO_RUN = "no finished run"


def summary_reasons(summary: MethodSummary, num_planned: int, interval: Interval | None) -> list[str]:
    """Why a row has no accuracy, fewer seeds than planned, or no interval of its lift."""
    name = summary.cell.variant.full_name
    reasons = []
    if summary.acc.mean is None:
        reasons.append(f"{name}: {summary.acc.reason}")
    elif summary.acc.n < num_planned and not has_no_seed(summary):
        reasons.append(f"{name}: {summary.acc.n} of {num_planned} seeds")
    if summary.lift.value is not None and interval is not None and interval.reason:
        reasons.append(f"interval of the lift of {name}: {interval.reason}")
    return reasons


def lift_reasons(comparison: Comparison, summaries: Iterable[MethodSummary]) -> list[str]:
    """Why a summary that could have a lift has none, and where a lift compares unlike numbers of rows."""
    reasons = []
    for summary in summaries:
        lora, size = comparison.reference_lora, summary.cell.size
        if summary.acc.mean is None or summary.cell.method in LIFT_REFERENCES:
            continue
        name = summary.cell.variant.full_name
        if summary.lift.value is None:
            reasons.append(f"recovered lift of {name}: {summary.lift.reason}")
        elif lora is not None and size is not None and size != lora.cell.size:
            reasons.append(
                f"recovered lift of {name}: with {size} rows per task, against the per-task LoRA's with "
                f"{lora.cell.size}"
            )
    return reasons


def missing_size_reasons(summaries: Iterable[MethodSummary], absent: Iterable[AbsentRun]) -> list[str]:
    """Planned sizes of each variant that are larger than the one shown, with the cause of their absence."""
    planned = list(absent)
    missing: dict[tuple[Cell, int], AbsentRun] = {}
    for summary in summaries:
        for run in planned:
            size = run.size or 0
            if size > (summary.cell.size or 0) and is_in(run, summary.cell._replace(size=run.size)):
                missing.setdefault((summary.cell, size), run)
    return [
        f"{cell.variant.full_name} with {size} rows per task: {run.cause or NO_RUN}"
        for (cell, size), run in missing.items()
    ]


def absent_reason(run: AbsentRun) -> str:
    """The cause of a row of dashes."""
    return f"{describe_absent(run)}: {run.cause or NO_RUN}"


def overview_table(comparisons: Sequence[Comparison]) -> Table:
    """One row per base, methods by their representatives; below some bases, what others published of them."""
    methods = _methods_of(comparisons)
    rows: list[tuple[object, ...]] = []
    reasons: list[str] = []
    for comparison in comparisons:
        shown = {method: comparison.representative(method) for method in methods}
        rows.append((comparison.base, *_fields(shown)))
        reasons += [
            f"{comparison.base}, {reason}"
            for reason in lift_reasons(comparison, filter(None, shown.values()))
        ]
        published = published_for(comparison.base)
        if published is not None:
            name = f"{comparison.base}, published ({published.source})"
            rows.append((name, *_published_fields(methods, published.accuracy)))
            if published.caveat is not None:
                reasons.append(f"{name}: {published.caveat}")
    columns = [Column("base", WORD)]
    for method in methods:
        label = find_method(method).label
        columns.append(Column(label, SPREAD))
        if method not in LIFT_REFERENCES:
            columns += [Column(f"{label}: lift", PERCENT), Column(f"{label}: retention", PERCENT)]
    words = {each.score_title for each in comparisons} or {"Accuracy"}
    word = words.pop() if len(words) == 1 else "Score"
    title = f"{word}, recovered lift and retention by base"
    return Table(title, "overview", tuple(columns), tuple(rows), tuple(reasons))


def _methods_of(comparisons: Sequence[Comparison]) -> list[str]:
    """All methods with results, and those that the paper published for one of the bases, in order."""
    published = [found.accuracy for each in comparisons if (found := published_for(each.base))]
    methods = {summary.cell.method for each in comparisons for summary in each.summaries}
    return sorted(methods.union(*published), key=lambda name: (find_method(name).order, name))


def _fields(shown: Mapping[str, MethodSummary | None]) -> list[object]:
    """Accuracy of every method, with lift and retention of those that have them."""
    fields: list[object] = []
    for method, summary in shown.items():
        fields.append(None if summary is None else summary.acc)
        if method not in LIFT_REFERENCES:
            fields += [None, None] if summary is None else [summary.lift, summary.retention]
    return fields


def _published_fields(methods: Iterable[str], accuracy: Mapping[str, Spread]) -> list[object]:
    """The same fields of the paper's numbers."""
    base, lora = (None if each is None else each.mean for each in map(accuracy.get, LIFT_REFERENCES))
    fields: list[object] = []
    for method in methods:
        own = accuracy.get(method)
        fields.append(own)
        if method not in LIFT_REFERENCES:
            mean = None if own is None else own.mean
            fields += [recovered_lift(mean, base, lora), retention(mean, lora)]
    return fields


def kinds_table(target: Target) -> Table | None:
    """Per kind: its number of tasks, chance, the mean score of every variant, and the port's lift.

    The mean over all tasks comes last. None where no two tasks share a kind.
    """
    return _kinds_table(target, target.comparison.headline_summaries)


def short_kinds_table(target: Target) -> Table | None:
    """The same with the frozen base, the port and the per-task LoRA only, which the lift is made of."""
    comparison = target.comparison
    shown = comparison.frozen_base, target.port, comparison.reference_lora
    return _kinds_table(target, [summary for summary in shown if summary is not None])


def pair_kinds_table(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table | None:
    """Per kind of which both studies have the same tasks: accuracy in both of every method that both have."""
    first, second = comparisons
    shared = {kind: tasks for kind, tasks in first.kinds.items() if second.kinds.get(kind) == tasks}
    both = [pair for pair in pairs if pair.is_in_both]
    if not shared or not both:
        return None
    columns = [Column("kind", WORD), Column("tasks", COUNT)]
    for pair in both:
        columns += [Column(f"{pair.name}, {name}", SPREAD) for name in names]
    rows = []
    for kind, tasks in shared.items():
        summaries = [summary for pair in both for summary in pair.summaries if summary is not None]
        rows.append((kind, len(tasks), *(accuracy_on(summary, tasks) for summary in summaries)))
    title = f"{first.base}: {first.score_name} by kind of task"
    return Table(title, f"pair-kinds-{slug}", tuple(columns), tuple(rows))


def _kinds_table(target: Target, summaries: Sequence[MethodSummary]) -> Table | None:
    comparison, port = target.comparison, target.port
    if not comparison.kinds or not summaries:
        return None
    rows: list[tuple[object, ...]] = []
    lifts: dict[str, Quantity] = {}
    for kind, tasks in comparison.kinds.items():
        scores = [accuracy_on(summary, tasks) for summary in summaries]
        if port is not None:
            lifts[kind] = lift_on(comparison, port, tasks)
        rows.append((kind, len(tasks), mean_chance(comparison, tasks), *scores, *_of(lifts, kind)))
    everything = [task for tasks in comparison.kinds.values() for task in tasks]
    means = [summary.acc for summary in summaries] + ([] if port is None else [port.lift])
    rows.append(("task mean", len(everything), mean_chance(comparison, everything), *means))
    columns = [Column("kind", WORD), Column("tasks", COUNT), Column("chance", NUMBER)]
    columns += [Column(summary.cell.variant.full_name, SPREAD) for summary in summaries]
    if port is not None:
        columns.append(Column(f"{port.cell.variant.full_name}: lift", PERCENT))
    title, slug = f"{target.base}: {target.score_name} by kind of task", f"kinds-{target.slug}"
    return Table(title, slug, tuple(columns), tuple(rows), tuple(_kind_lift_reasons(lifts)), footer=1)


def _of(lifts: Mapping[str, Quantity], kind: str) -> list[Quantity]:
    return [lifts[kind]] if kind in lifts else []


def _kind_lift_reasons(lifts: Mapping[str, Quantity]) -> list[str]:
    """Why lifts are missing, with the kinds that each reason is of."""
    kinds: dict[str, list[str]] = {}
    for kind, lift in lifts.items():
        if lift.reason is not None:
            kinds.setdefault(lift.reason, []).append(kind)
    return [f"recovered lift of {', '.join(own)}: {reason}" for reason, own in kinds.items()]


def pair_table(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table:
    """One row per pair: accuracy in both studies, the difference with its interval, lift in both."""
    fields: Fields[Pair] = [
        ("method", WORD, lambda pair: pair.cell.variant.label),
        ("adapter", WORD, lambda pair: pair.cell.variant.settings or None),
        ("size", COUNT, lambda pair: pair.cell.size),
        (names[0], SPREAD, lambda pair: pair.summaries[0] and pair.summaries[0].acc),
        (names[1], SPREAD, lambda pair: pair.summaries[1] and pair.summaries[1].acc),
        ("difference (points)", POINTS, lambda pair: pair.difference.value),
        ("difference: 95 %", POINTS_RANGE, lambda pair: pair.difference),
        (f"{names[0]}: lift", PERCENT, lambda pair: pair.summaries[0] and pair.summaries[0].lift),
        (f"{names[1]}: lift", PERCENT, lambda pair: pair.summaries[1] and pair.summaries[1].lift),
    ]
    chosen = any(comparison.chosen for comparison in comparisons)
    rule = RULE_TITLES[comparisons[0].rule] if chosen else "the only epoch scored"
    title = f"{comparisons[0].base}: {comparisons[0].score_name}, {rule}"
    reasons = _pair_reasons(comparisons, pairs, names)
    return Table.of(title, f"pair-{slug}", pairs, fields, reasons=reasons)


def pair_task_table(
    comparison: Comparison, pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table:
    """One row per task: accuracy in both studies of every method that both have."""
    both = [pair for pair in pairs if pair.is_in_both]
    tasks = sorted(
        {
            task
            for pair in both
            for summary in pair.summaries
            if summary is not None
            for task in summary.per_task
        }
    )
    columns = [Column("task", WORD)]
    for pair in both:
        columns += [Column(f"{pair.name}, {name}", SPREAD) for name in names]
    rows = [
        (task, *(_task_score(summary, task) for pair in both for summary in pair.summaries)) for task in tasks
    ]
    title = f"{comparison.base}: {comparison.score_name} by task"
    return Table(title, f"pair-tasks-{slug}", tuple(columns), tuple(rows))


def _task_score(summary: MethodSummary | None, task: str) -> Spread | None:
    return None if summary is None else summary.per_task.get(task)


def _pair_reasons(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str]
) -> list[str]:
    """Why a lift, a result or a difference is missing."""
    reasons = []
    for place, (comparison, name) in enumerate(zip(comparisons, names, strict=True)):
        own = [summary for pair in pairs if (summary := pair.summaries[place]) is not None]
        reasons += [f"{name}, {reason}" for reason in lift_reasons(comparison, own)]
    for pair in pairs:
        reasons += [
            f"{pair.name}: no result in {name}"
            for summary, name in zip(pair.summaries, names, strict=True)
            if summary is None or summary.acc.mean is None
        ]
        if pair.is_in_both and pair.difference.reason:
            reasons.append(f"{pair.name}: no difference, for {pair.difference.reason}")
    return reasons


def rules_table(target: Target) -> Table:
    """Accuracy and lift of every variant under every selection rule, side by side."""
    first = next(iter(target.rules.values()))
    rows, reasons = [], []
    for summary in first.headline_summaries:
        name = summary.cell.variant.full_name
        row: list[object] = [name]
        for rule, comparison in target.rules.items():
            found = next(each for each in comparison.summaries if each.cell == summary.cell)
            row += [found.acc, found.lift]
            if found.acc.mean is None:
                reasons.append(f"{name}, {rule}: {found.acc.reason}")
            reasons += [f"{rule}, {reason}" for reason in lift_reasons(comparison, [found])]
        rows.append(tuple(row))
    columns = [Column("method", WORD)]
    for rule in target.rules:
        title = rule.replace("_", " ")
        columns += [Column(title, SPREAD), Column(f"{title}: lift", PERCENT)]
    title = f"{target.base}: the same runs under every selection rule"
    return Table(title, f"rules-{target.slug}", tuple(columns), tuple(rows), tuple(reasons))


def variants_table(target: Target) -> Table | None:
    """Variants of methods that come with several modules, ranks or widths; None when none does."""
    comparison = target.comparison
    summaries = [
        summary
        for summary in comparison.headline_summaries
        if len(comparison.variants(summary.cell.method)) > 1
    ]
    if not summaries:
        return None
    fields: Fields[MethodSummary] = (
        ("method", WORD, lambda each: each.cell.variant.label),
        ("modules", WORD, lambda each: each.cell.variant.modules),
        ("rank", COUNT, lambda each: each.cell.variant.rank),
        ("trained parameters", COUNT, lambda each: each.cost.trained_params),
        (target.score_name, SPREAD, lambda each: each.acc),
        ("recovered lift", PERCENT, lambda each: each.lift),
        ("lift: 95 %", PERCENT_RANGE, lambda each: lift_interval(each, comparison, target.bootstrap)),
        ("log-loss", SPREAD, lambda each: each.log_loss),
        ("training FLOPs", SCIENTIFIC, lambda each: each.cost.train_flops),
    )
    title, slug = f"{target.base}: modules, ranks and widths", f"variants-{target.slug}"
    return Table.of(title, slug, summaries, fields, reasons=lift_reasons(comparison, summaries))


def comparisons_table(target: Target) -> Table | None:
    """The difference of every two variants, paired, with its interval; None without a bootstrap."""
    bootstrap = target.bootstrap
    if bootstrap is None:
        return None
    rows: list[tuple[object, ...]] = []
    for first, second in comparable_pairs(target.comparison, bootstrap):
        names = first.cell.variant.full_name, second.cell.variant.full_name
        difference = bootstrap.difference(first.cell, second.cell)
        seeds = len(bootstrap.shared_seeds(first.cell, second.cell))
        verdict = "distinguishable" if difference.excludes_zero else "not distinguishable"
        rows.append((*names, verdict, difference.value, difference, seeds or None))
    columns = (
        Column("method", WORD),
        Column("against", WORD),
        Column("verdict", VERDICT),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{target.base}: every two methods and variants (on these tasks)"
    return Table(title, f"comparisons-{target.slug}", columns, tuple(rows))


def seed_spread_table(
    comparisons: Sequence[Comparison], sources: Sequence[MethodSummary], score_name: str
) -> Table | None:
    """One row per variant and base at its largest size, sources last; None where none has two seeds."""
    summaries = [each for comparison in comparisons for each in comparison.headline_summaries]
    spreads = find_seed_spreads([*summaries, *sources])
    if not spreads:
        return None
    fields: Fields[SeedSpread] = (
        ("base", WORD, lambda each: each.cell.base),
        ("method", WORD, lambda each: each.cell.variant.full_name),
        ("size", COUNT, lambda each: each.cell.size),
        ("seeds", COUNT, lambda each: each.num_seeds),
        ("tasks", COUNT, lambda each: each.num_tasks),
        ("pooled std", NUMBER, lambda each: each.pooled.value),
        ("pooled std: 95 %", NUMBER_RANGE, lambda each: each.pooled),
        ("largest std", NUMBER, lambda each: each.largest),
        ("of task", WORD, lambda each: each.largest_task),
    )
    title = f"Spread over seeds: std of a task's {score_name} (intervals draw tasks)"
    return Table.of(title, "seed-spread", spreads, fields)


def calibration_table(target: Target) -> Table:
    """One row per variant. The log-loss is over the whole vocabulary, all else among the choices."""
    log_losses = {summary.cell: summary.log_loss for summary in target.comparison.headline_summaries}
    fields: Fields[Calibration] = (
        ("method", WORD, lambda each: each.cell.variant.full_name),
        ("acc", SPREAD, lambda each: each.acc),
        ("log-loss", SPREAD, lambda each: log_losses[each.cell]),
        ("choice NLL", SPREAD, lambda each: each.nll),
        ("Brier", SPREAD, lambda each: each.brier),
        ("ECE", SPREAD, lambda each: each.ece),
        ("ECE: 95 %", NUMBER_RANGE, lambda each: each.ece_interval),
    )
    title = f"{target.base}: calibration of the choices' probabilities"
    return Table.of(title, f"calibration-{target.slug}", target.calibrations, fields)
