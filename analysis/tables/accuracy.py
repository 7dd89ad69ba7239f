"""The tables of accuracy: main lines, all bases, selection rules, variants, tasks, sources."""

from collections.abc import Iterable, Mapping, Sequence

from analysis.stats.aggregate import Comparison, MethodSummary, Quantity, Spread, recovered_lift
from analysis.stats.aggregate import retention as retention_of
from analysis.stats.bootstrap import Bootstrap
from analysis.stats.epoch_selection import RULE_TITLES
from analysis.stats.lift_intervals import accuracy_interval, comparable_pairs, has_no_seed, lift_interval
from analysis.stats.published import PUBLISHED
from analysis.stats.result_table import METHOD_LABELS, METHOD_ORDER, Cell, MethodKey
from analysis.stats.study_info import AbsentRun, StudyInfo
from analysis.tables.columns import (
    COUNT,
    NUMBER,
    NUMBER_RANGE,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SCIENTIFIC,
    SPREAD,
    WORD,
    Column,
    Kind,
)
from analysis.tables.table import Table

SEEDS = Kind(
    lambda value: f"{value[0]}" if value[0] == value[1] else f"{value[0]} of {value[1]}",
    tuple,
    ("", " planned"),
)
"""(seeds with results, seeds planned)"""


def main_table(comparison: Comparison, info: StudyInfo, bootstrap: Bootstrap | None, slug: str) -> Table:
    """One line a variant at its largest size; planned variants without results are lines of dashes."""
    lines = sorted(comparison.main, key=lambda summary: summary.cell.variant.sort_key())
    many_sources = len({line.cell.variant.sources for line in lines if line.cell.method == "portal"}) > 1
    rows: list[tuple[object, ...]] = []
    reasons = []
    for line in lines:
        name = line.cell.variant.label
        if many_sources and line.cell.variant.sources:
            name += f" from {' + '.join(line.cell.variant.sources)}"
        planned = _planned_seeds(line, info)
        interval = lift_interval(line, comparison, bootstrap)
        rows.append(
            (
                name,
                line.cell.variant.settings or None,
                line.cell.size,
                line.acc,
                accuracy_interval(line, bootstrap),
                None if has_no_seed(line) else (line.acc.n, planned),
                line.lift,
                interval,
                line.retention,
                line.log_loss,
            )
        )
        if line.acc.mean is None:
            reasons.append(f"{name_of(line.cell)}: {line.acc.reason}")
        elif line.acc.n < planned and not has_no_seed(line):
            reasons.append(f"{name_of(line.cell)}: {line.acc.n} of {planned} seeds")
        if line.lift.value is not None and interval is not None and interval.reason:
            reasons.append(f"interval of the lift of {name_of(line.cell)}: {interval.reason}")
    reasons += [*lift_reasons(comparison, lines), *_missing_sizes(lines, info)]
    for absent in _absent_lines(comparison, info):
        variant = absent.variant
        rows.append((variant.label, variant.settings or None, absent.size, *[None] * 7))
        reasons.append(f"{absent.describe()}: {absent.cause or 'no finished run'}")
    columns = (
        Column("method", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column("acc_norm", SPREAD),
        Column("acc_norm: 95 %", NUMBER_RANGE),
        Column("seeds", SEEDS),
        Column("recovered lift", PERCENT),
        Column("lift: 95 %", PERCENT_RANGE),
        Column("retention", PERCENT),
        Column("log-loss", SPREAD),
    )
    return Table(_main_title(comparison), f"main-{slug}", columns, tuple(rows), tuple(reasons))


def overview_table(comparisons: Sequence[Comparison]) -> Table:
    """One line a base in the paper's form; below a base that the paper has, what the paper published."""
    rows: list[tuple[object, ...]] = []
    reasons: list[str] = []
    shown = [method for method in METHOD_ORDER if any(each.find(method) for each in comparisons)]
    shown += [method for base in comparisons for method in _published_methods(base.base, shown)]
    methods = [method for method in METHOD_ORDER if method in shown]
    for comparison in comparisons:
        lines = {method: comparison.find(method) for method in methods}
        lines["lora"] = comparison.ceiling
        fields: list[object] = []
        for method in methods:
            line = lines[method]
            fields.append(None if line is None else line.acc)
            if method not in ("base", "lora"):
                fields += [None, None] if line is None else [line.lift, line.retention]
        rows.append((comparison.base, *fields))
        reasons += [
            f"{comparison.base}, {reason}"
            for reason in lift_reasons(comparison, filter(None, lines.values()))
        ]
        published = PUBLISHED.get(comparison.base)
        if published is not None:
            name = f"{comparison.base}, published (table {published.section})"
            rows.append((name, *_published_fields(methods, published.accuracy)))
    columns = [Column("base", WORD)]
    for method in methods:
        label = METHOD_LABELS[method]
        columns.append(Column(label, SPREAD))
        if method not in ("base", "lora"):
            columns += [Column(f"{label}: lift", PERCENT), Column(f"{label}: retention", PERCENT)]
    title = "Accuracy, recovered lift and retention by base"
    return Table(title, "overview", tuple(columns), tuple(rows), tuple(reasons))


def rules_table(comparisons: Mapping[str, Comparison], slug: str) -> Table:
    """Accuracy and lift of the main lines under every selection rule, side by side."""
    first = next(iter(comparisons.values()))
    rows, reasons = [], []
    for line in first.main:
        row: list[object] = [name_of(line.cell)]
        for rule, comparison in comparisons.items():
            found = next(summary for summary in comparison.summaries if summary.cell == line.cell)
            row += [found.acc, found.lift]
            if found.acc.mean is None:
                reasons.append(f"{name_of(line.cell)}, {rule}: {found.acc.reason}")
            reasons += [f"{rule}, {reason}" for reason in lift_reasons(comparison, [found])]
        rows.append(tuple(row))
    columns = [Column("method", WORD)]
    for rule in comparisons:
        columns += [
            Column(rule.replace("_", " "), SPREAD),
            Column(f"{rule.replace('_', ' ')}: lift", PERCENT),
        ]
    title = f"{first.base}: the same runs under every selection rule"
    return Table(title, f"rules-{slug}", tuple(columns), tuple(rows), tuple(reasons))


def variants_table(comparison: Comparison, bootstrap: Bootstrap | None, slug: str) -> Table | None:
    """Main lines of methods that come with several modules, ranks or widths; None when none does."""
    lines = [
        line
        for line in comparison.main
        if sum(other.cell.method == line.cell.method for other in comparison.main) > 1
    ]
    if not lines:
        return None
    rows = tuple(
        (
            line.cell.variant.label,
            line.cell.variant.modules,
            line.cell.variant.rank,
            line.cost.trained_params,
            line.acc,
            line.lift,
            lift_interval(line, comparison, bootstrap),
            line.log_loss,
            line.cost.train_flops,
        )
        for line in lines
    )
    columns = (
        Column("method", WORD),
        Column("modules", WORD),
        Column("rank", COUNT),
        Column("trained parameters", COUNT),
        Column("acc_norm", SPREAD),
        Column("recovered lift", PERCENT),
        Column("lift: 95 %", PERCENT_RANGE),
        Column("log-loss", SPREAD),
        Column("training FLOPs", SCIENTIFIC),
    )
    title = f"{comparison.base}: modules, ranks and widths"
    return Table(title, f"variants-{slug}", columns, rows, tuple(lift_reasons(comparison, lines)))


def per_task_table(comparison: Comparison, slug: str) -> Table:
    """Chance, the majority answer's rate and acc_norm of the main lines for every task, and the port's lift.

    The task mean comes last. The majority answer's rate is null for tasks whose questions have answers of
    their own.
    """
    lines, port = comparison.main, comparison.find("portal")
    tasks = sorted({task for line in lines for task in line.per_task})
    lifts = {} if port is None else {task: _task_lift(comparison, port, task) for task in tasks}
    rows: list[tuple[object, ...]] = []
    for task in tasks:
        known = comparison.chance.get(task), comparison.majority.get(task)
        scores = [line.per_task.get(task) for line in lines]
        rows.append((task, *known, *scores, *([lifts[task]] if port is not None else [])))
    if tasks:
        chances = [comparison.chance[task] for task in tasks if task in comparison.chance]
        mean = sum(chances) / len(chances) if chances else None
        accuracies = [line.acc for line in lines]
        rows.append(("task mean", mean, None, *accuracies, *([port.lift] if port is not None else [])))
    columns = [Column("task", WORD), Column("chance", NUMBER), Column("majority", NUMBER)]
    columns += [Column(name_of(line.cell), SPREAD) for line in lines]
    if port is not None:
        columns.append(Column(f"{name_of(port.cell)}: lift", PERCENT))
    reasons = [f"recovered lift of {task}: {lift.reason}" for task, lift in lifts.items() if lift.reason]
    title = f"{comparison.base}: acc_norm by task"
    return Table(title, f"tasks-{slug}", tuple(columns), tuple(rows), tuple(reasons), footer=int(bool(tasks)))


def comparisons_table(comparison: Comparison, bootstrap: Bootstrap | None, slug: str) -> Table | None:
    """The difference of every two main lines, paired, with its interval; None without a bootstrap."""
    if bootstrap is None:
        return None
    rows: list[tuple[object, ...]] = []
    for first, second in comparable_pairs(comparison, bootstrap):
        difference = bootstrap.difference(first.cell, second.cell)
        seeds = len(bootstrap.shared_seeds(first.cell, second.cell))
        verdict = "distinguishable" if difference.excludes_zero else "not distinguishable"
        rows.append(
            (name_of(first.cell), name_of(second.cell), verdict, difference.value, difference, seeds or None)
        )
    columns = (
        Column("method", WORD),
        Column("against", WORD),
        Column("verdict", WORD),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{comparison.base}: every two methods and variants"
    return Table(title, f"comparisons-{slug}", columns, tuple(rows))


def sources_table(summaries: Sequence[MethodSummary]) -> Table:
    """Scores of the joint source runs on their own source bases."""
    rows = tuple(
        (
            line.cell.base,
            " + ".join(line.cell.variant.sources or ()),
            line.cell.variant.settings,
            line.cell.size,
            line.acc,
            line.acc.n,
            line.log_loss,
        )
        for line in summaries
    )
    columns = (
        Column("base", WORD),
        Column("trained on", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column("acc_norm", SPREAD),
        Column("seeds", COUNT),
        Column("log-loss", SPREAD),
    )
    return Table("Joint training on its own source bases", "sources", columns, rows)


def lift_reasons(comparison: Comparison, lines: Iterable[MethodSummary]) -> list[str]:
    """Why a line that could have a lift has none, and where a lift compares unlike numbers of rows."""
    reasons = []
    for line in lines:
        ceiling, size = comparison.ceiling, line.cell.size
        if line.acc.mean is None or line.cell.method in ("base", "lora"):
            continue
        if line.lift.value is None:
            reasons.append(f"recovered lift of {name_of(line.cell)}: {line.lift.reason}")
        elif ceiling is not None and size is not None and size != ceiling.cell.size:
            reasons.append(
                f"recovered lift of {name_of(line.cell)}: with {size} rows a task, against the per-task "
                f"LoRA's with {ceiling.cell.size}"
            )
    return reasons


def name_of(cell: Cell) -> str:
    """`PorTAL q,v r8`."""
    settings = cell.variant.settings
    return f"{cell.variant.label} {settings}" if settings else cell.variant.label


def _task_lift(comparison: Comparison, port: MethodSummary, task: str) -> Quantity:
    """The port's recovered lift of one task."""
    lines = (port, comparison.floor, comparison.ceiling)
    known = [
        line.per_task[task].mean if line is not None and task in line.per_task else None for line in lines
    ]
    return recovered_lift(*known)


def _main_title(comparison: Comparison) -> str:
    """With the paper's table for its bases; epochs are not called chosen where only one was scored."""
    published = PUBLISHED.get(comparison.base)
    section = "" if published is None else f" (the paper's table {published.section})"
    rule = RULE_TITLES[comparison.rule] if comparison.chosen else "the only epoch scored"
    return f"{comparison.base}{section}: {rule}"


def _published_fields(methods: Iterable[str], accuracy: Mapping[str, Spread]) -> list[object]:
    base, lora = accuracy.get("base"), accuracy.get("lora")
    fields: list[object] = []
    for method in methods:
        own = accuracy.get(method)
        fields.append(own)
        if method in ("base", "lora"):
            continue
        mean, floor, ceiling = (None if each is None else each.mean for each in (own, base, lora))
        fields += [recovered_lift(mean, floor, ceiling), retention_of(mean, ceiling)]
    return fields


def _published_methods(base: str, shown: Sequence[str]) -> list[str]:
    published = PUBLISHED.get(base)
    return [] if published is None else [method for method in published.accuracy if method not in shown]


def _missing_sizes(lines: Iterable[MethodSummary], info: StudyInfo) -> list[str]:
    """Planned sizes of a line's variant that are larger than the one it shows."""
    missing: dict[tuple[Cell, int], AbsentRun] = {}
    for line in lines:
        for run in info.absent:
            size = run.size or 0
            if size > (line.cell.size or 0) and run.is_in(line.cell._replace(size=run.size)):
                missing.setdefault((line.cell, size), run)
    return [
        f"{name_of(cell)} with {size} rows a task: {run.cause or 'no finished run'}"
        for (cell, size), run in missing.items()
    ]


def _planned_seeds(line: MethodSummary, info: StudyInfo) -> int:
    """How many seeds the line was to have: those it has, and those that are known to be absent."""
    absent = {run.seed for run in info.absent if run.is_in(line.cell)} - set(line.seeds)
    return line.acc.n + len(absent)


def _absent_lines(comparison: Comparison, info: StudyInfo) -> list[AbsentRun]:
    """One planned run, of the largest size, for every variant that has no line on this base."""
    shown = {summary.cell.variant for summary in comparison.summaries}
    methods = {variant.method for variant in shown}
    absent: dict[MethodKey, AbsentRun] = {}
    for run in sorted(info.absent, key=lambda run: -(run.size or 0)):
        if run.base == comparison.base and run.method not in (None, "source"):
            known = run.variant in shown or (run.label is None and run.method in methods)
            if not known:
                absent.setdefault(run.variant, run)
    methods |= {variant.method for variant in absent}
    for method in ("base", "lora"):
        if method not in methods:
            run = AbsentRun(method=method, base=comparison.base)
            absent[run.variant] = run
    return sorted(absent.values(), key=lambda run: run.variant.sort_key())
