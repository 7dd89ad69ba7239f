"""The tables of accuracy: main lines, all bases, selection rules, variants, tasks, sources."""

from collections.abc import Iterable, Mapping, Sequence

from analysis.aggregate import Comparison, Spread, Summary, recovered_lift
from analysis.aggregate import retention as retention_of
from analysis.column import (
    COUNT,
    NUMBER,
    PERCENT,
    PERCENT_RANGE,
    POINTS,
    POINTS_RANGE,
    SPREAD,
    WORD,
    Column,
    Kind,
)
from analysis.intervals import Bootstrap, Interval
from analysis.published import PUBLISHED
from analysis.runs import METHOD_LABELS, METHOD_ORDER, Cell, Variant
from analysis.selection import RULE_TITLES
from analysis.sentences import comparable_pairs
from analysis.study_info import AbsentRun, StudyInfo
from analysis.table import Table

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
    planned = {line.cell: _planned_seeds(line, lines, info) for line in lines}
    rows: list[tuple[object, ...]] = []
    for line in lines:
        name = line.cell.variant.label
        if many_sources and line.cell.variant.sources:
            name += f" from {' + '.join(line.cell.variant.sources)}"
        rows.append(
            (
                name,
                line.cell.variant.settings or None,
                line.cell.size,
                line.acc,
                None if has_no_seed(line) else (line.acc.n, planned[line.cell]),
                line.lift,
                lift_interval(line, comparison, bootstrap),
                line.retention,
                line.log_loss,
            )
        )
    reasons = [f"{name_of(line.cell)}: {line.acc.reason}" for line in lines if line.acc.mean is None]
    reasons += [
        f"recovered lift of {name_of(line.cell)}: {line.lift.reason}" for line in lines if _unexplained(line)
    ]
    reasons += [
        f"{name_of(line.cell)}: {line.acc.n} of {planned[line.cell]} seeds"
        for line in lines
        if not has_no_seed(line) and 0 < line.acc.n < planned[line.cell]
    ]
    for absent in _absent_lines(comparison, info):
        variant = absent.variant
        rows.append((variant.label, variant.settings or None, absent.size, *[None] * 6))
        reasons.append(f"{absent.describe()}: {absent.cause or 'no finished run'}")
    columns = (
        Column("method", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column("acc_norm", SPREAD),
        Column("seeds", SEEDS),
        Column("recovered lift", PERCENT),
        Column("95 % interval", PERCENT_RANGE),
        Column("retention", PERCENT),
        Column("log-loss", SPREAD),
    )
    title = f"{comparison.base}: {RULE_TITLES[comparison.rule]}"
    return Table(title, f"main-{slug}", columns, tuple(rows), tuple(reasons))


def overview_table(comparisons: Sequence[Comparison]) -> Table:
    """One line a base in the paper's form; below a base that the paper has, what the paper published."""
    rows: list[tuple[object, ...]] = []
    shown = [method for method in METHOD_ORDER if any(each.find(method) for each in comparisons)]
    shown += [method for base in comparisons for method in _published_methods(base.base, shown)]
    methods = [method for method in METHOD_ORDER if method in shown]
    for comparison in comparisons:
        lines = {method: comparison.find(method) for method in methods}
        own = {method: line.acc for method, line in lines.items() if line is not None}
        if comparison.ceiling is not None:
            own["lora"] = comparison.ceiling.acc
        rows.append((comparison.base, *_paper_fields(methods, own)))
        published = PUBLISHED.get(comparison.base)
        if published is not None:
            name = f"{comparison.base}, published (table {published.section})"
            rows.append((name, *_paper_fields(methods, published.accuracy)))
    columns = [Column("base", WORD)]
    for method in methods:
        label = METHOD_LABELS[method]
        columns.append(Column(label, SPREAD))
        if method not in ("base", "lora"):
            columns += [Column(f"{label}: lift", PERCENT), Column(f"{label}: retention", PERCENT)]
    return Table("Accuracy, recovered lift and retention by base", "overview", tuple(columns), tuple(rows))


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
        Column("95 % interval", PERCENT_RANGE),
        Column("log-loss", SPREAD),
        Column("training FLOPs", Kind(lambda value: f"{value:.2e}")),
    )
    return Table(f"{comparison.base}: modules, ranks and widths", f"variants-{slug}", columns, rows)


def per_task_table(comparison: Comparison, slug: str) -> Table:
    """Chance, the majority answer's rate and acc_norm of the main lines for every task; the task mean last.

    The majority answer's rate is null for tasks whose questions have answers of their own.
    """
    lines = comparison.main
    tasks = sorted({task for line in lines for task in line.per_task})
    rows: list[tuple[object, ...]] = [
        (
            task,
            comparison.chance.get(task),
            comparison.majority.get(task),
            *(line.per_task.get(task) for line in lines),
        )
        for task in tasks
    ]
    if tasks:
        chances = [comparison.chance[task] for task in tasks if task in comparison.chance]
        mean = sum(chances) / len(chances) if chances else None
        rows.append(("task mean", mean, None, *(line.acc for line in lines)))
    columns = (
        Column("task", WORD),
        Column("chance", NUMBER),
        Column("majority", NUMBER),
        *(Column(name_of(line.cell), SPREAD) for line in lines),
    )
    return Table(f"{comparison.base}: acc_norm by task", f"tasks-{slug}", columns, tuple(rows))


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
        Column("95 % interval", POINTS_RANGE),
        Column("shared seeds", COUNT),
    )
    title = f"{comparison.base}: every two methods and variants"
    return Table(title, f"comparisons-{slug}", columns, tuple(rows))


def sources_table(summaries: Sequence[Summary]) -> Table:
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


def lift_interval(line: Summary, comparison: Comparison, bootstrap: Bootstrap | None) -> Interval | None:
    """The interval of a line's lift; None where lift or its interval is undefined."""
    floor, ceiling = comparison.floor, comparison.ceiling
    if bootstrap is None or line.lift.value is None or floor is None or ceiling is None:
        return None
    if not bootstrap.can_compare(line.cell, floor.cell, ceiling.cell):
        return None
    interval = bootstrap.lift(line.cell, floor.cell, ceiling.cell)
    return interval if interval.low is not None else None


def name_of(cell: Cell) -> str:
    """`PorTAL q,v r8`."""
    settings = cell.variant.settings
    return f"{cell.variant.label} {settings}" if settings else cell.variant.label


def has_no_seed(line: Summary) -> bool:
    """The frozen base and the zero update: nothing in them is drawn."""
    return line.cell.method == "base" or set(line.seeds) == {None}


def _paper_fields(methods: Iterable[str], accuracy: Mapping[str, Spread]) -> list[object]:
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


def _unexplained(line: Summary) -> bool:
    return line.acc.mean is not None and line.lift.value is None and line.cell.method not in ("base", "lora")


def _planned_seeds(line: Summary, lines: Sequence[Summary], info: StudyInfo) -> int:
    """How many seeds the line was to have: as many as the other lines, and those known to be absent."""
    absent = {run.seed for run in info.absent if run.is_in(line.cell)} - set(line.seeds)
    most = max((other.acc.n for other in lines if not has_no_seed(other)), default=0)
    return max(most, line.acc.n + len(absent))


def _absent_lines(comparison: Comparison, info: StudyInfo) -> list[AbsentRun]:
    """One planned run, of the largest size, for every variant that has no line on this base."""
    shown = {summary.cell.variant for summary in comparison.summaries}
    methods = {variant.method for variant in shown}
    absent: dict[Variant, AbsentRun] = {}
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
