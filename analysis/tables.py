"""The tables of a study: main lines, selection rules, tasks, data efficiency, cost, sources."""

from collections.abc import Mapping, Sequence

from analysis.aggregate import Comparison, Quantity, Spread, Summary
from analysis.curves import CurveSet
from analysis.intervals import Bootstrap
from analysis.runs import Cell
from analysis.selection import RULE_TITLES
from analysis.study_info import AbsentRun, StudyInfo
from analysis.table import DASH, Table


def main_table(comparison: Comparison, info: StudyInfo, bootstrap: Bootstrap | None) -> Table:
    """One line a variant at its largest size; planned variants without results are lines of dashes."""
    lines = sorted(comparison.main, key=lambda summary: summary.cell.variant.sort_key())
    many_sources = len({line.cell.variant.sources for line in lines if line.cell.method == "portal"}) > 1
    rows = [_main_row(line, comparison, bootstrap, many_sources) for line in lines]
    reasons = [f"{_name(line.cell)}: {line.acc.reason}" for line in lines if line.acc.mean is None]
    reasons += [
        f"recovered lift of {_name(line.cell)}: {line.lift.reason}" for line in lines if _unexplained(line)
    ]
    reasons += _short_of_seeds(lines)
    for absent in _absent_lines(comparison, info):
        label = AbsentRun(method=absent.method).describe()
        size = DASH if absent.size is None else str(absent.size)
        rows.append((label, DASH, size, *[DASH] * 6))
        reasons.append(f"{absent.describe()}: {absent.cause or 'no finished run'}")
    columns = (
        "method",
        "adapter",
        "size",
        "acc_norm",
        "seeds",
        "recovered lift",
        "95 % interval",
        "retention",
    )
    title = f"{comparison.base}: {RULE_TITLES[comparison.rule]}"
    return Table(title, (*columns, "log-loss"), tuple(rows), 2, tuple(reasons))


def rules_table(comparisons: Mapping[str, Comparison]) -> Table:
    """Accuracy and lift of the main lines under every selection rule, side by side."""
    first = next(iter(comparisons.values()))
    rows, reasons = [], []
    for line in first.main:
        row = [_name(line.cell)]
        for rule, comparison in comparisons.items():
            found = next(summary for summary in comparison.summaries if summary.cell == line.cell)
            row += [format_spread(found.acc), format_percent(found.lift)]
            if found.acc.mean is None:
                reasons.append(f"{_name(line.cell)}, {rule}: {found.acc.reason}")
        rows.append(tuple(row))
    columns = ["method"]
    for rule in comparisons:
        columns += [rule.replace("_", " "), "lift"]
    title = f"{first.base}: the same runs under every selection rule"
    return Table(title, tuple(columns), tuple(rows), 1, tuple(reasons))


def per_task_table(comparison: Comparison) -> Table:
    """Chance and acc_norm of the main lines for every task, and the task mean last."""
    lines = comparison.main
    tasks = sorted({task for line in lines for task in line.per_task})
    rows = []
    for task in tasks:
        cells = [format_spread(line.per_task[task]) if task in line.per_task else DASH for line in lines]
        chance = format_number(comparison.chance.get(task))
        rows.append((task, chance, *cells))
    if tasks:
        chances = [comparison.chance[task] for task in tasks if task in comparison.chance]
        mean = sum(chances) / len(chances) if chances else None
        rows.append(("task mean", format_number(mean), *(format_spread(line.acc) for line in lines)))
    columns = ("task", "chance", *(_name(line.cell) for line in lines))
    return Table(f"{comparison.base}: acc_norm by task", columns, tuple(rows))


def curve_table(accuracy: CurveSet, log_loss: CurveSet | None) -> Table:
    """Final-epoch accuracy and log-loss of every variant and size; `*` marks the star."""
    losses = {
        (curve.variant, size): point
        for curve in (log_loss.curves if log_loss is not None else ())
        for size, point in zip(curve.sizes, curve.points, strict=True)
    }
    rows = []
    for curve in accuracy.curves:
        for size, point, rolling in zip(curve.sizes, curve.points, curve.rolling, strict=True):
            loss = losses[curve.variant, size] if (curve.variant, size) in losses else Spread(None, None, 0)
            star = " *" if size == curve.star else ""
            name = f"{curve.variant.label} {curve.variant.settings}"
            rolled = format_number(rolling) + star
            rows.append((name, str(size), format_spread(point), str(point.n), rolled, format_spread(loss)))
    columns = ("method", "size", "acc_norm", "seeds", "rolling mean", "log-loss")
    title = f"{accuracy.base}: data efficiency, final epoch (* first reaches the per-task LoRA's peak)"
    return Table(title, columns, tuple(rows))


def cost_table(comparisons: Sequence[Comparison]) -> Table:
    """Mean cost of one run of every main line."""
    rows = []
    for comparison in comparisons:
        for line in comparison.main:
            cost = line.cost
            if line.cell.method == "base":
                continue
            rows.append(
                (
                    comparison.base,
                    _name(line.cell),
                    format_count(line.cell.size),
                    format_count(cost.trained_params),
                    format_count(cost.train_tokens),
                    DASH if cost.train_flops is None else f"{cost.train_flops:.2e}",
                    DASH if cost.wall_s is None else f"{cost.wall_s:,.1f}",
                )
            )
    columns = (
        "base",
        "method",
        "size",
        "trained parameters",
        "training tokens",
        "training FLOPs",
        "training s",
    )
    return Table("Cost of one run (mean over seeds)", columns, tuple(rows), 2)


def sources_table(summaries: Sequence[Summary]) -> Table:
    """Scores of the joint source runs on their own source bases."""
    rows = tuple(
        (
            line.cell.base,
            " + ".join(line.cell.variant.sources or ()),
            line.cell.variant.settings,
            format_count(line.cell.size),
            format_spread(line.acc),
            str(line.acc.n),
            format_spread(line.log_loss),
        )
        for line in summaries
    )
    columns = ("base", "trained on", "adapter", "size", "acc_norm", "seeds", "log-loss")
    return Table("Joint training on its own source bases", columns, rows, 3)


def format_number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return DASH if value is None else f"{value:.3f}"


def format_spread(value: Spread) -> str:
    """`0.765 ± 0.003`; without std when there is one seed."""
    if value.mean is None:
        return DASH
    return f"{value.mean:.3f}" if value.std is None else f"{value.mean:.3f} \u00b1 {value.std:.3f}"


def format_percent(value: Quantity) -> str:
    """`97.7 %`, or a dash."""
    return DASH if value.value is None else f"{100 * value.value:.1f} %".replace("-", "\u2212")


def format_count(value: int | None) -> str:
    """`17,483,776`, or a dash."""
    return DASH if value is None else f"{value:,}"


def _main_row(
    line: Summary, comparison: Comparison, bootstrap: Bootstrap | None, many_sources: bool
) -> tuple[str, ...]:
    name = line.cell.variant.label
    if many_sources and line.cell.variant.sources:
        name += f" from {' + '.join(line.cell.variant.sources)}"
    return (
        name,
        line.cell.variant.settings or DASH,
        DASH if line.cell.size is None else str(line.cell.size),
        format_spread(line.acc),
        DASH if _has_no_seed(line) else str(line.acc.n),
        format_percent(line.lift),
        lift_interval(line, comparison, bootstrap),
        format_percent(line.retention),
        format_spread(line.log_loss),
    )


def lift_interval(line: Summary, comparison: Comparison, bootstrap: Bootstrap | None) -> str:
    """`92 to 104 %`, or a dash where lift or its interval is undefined."""
    floor, ceiling = comparison.floor, comparison.ceiling
    if bootstrap is None or line.lift.value is None or floor is None or ceiling is None:
        return DASH
    if not bootstrap.can_compare(line.cell, floor.cell, ceiling.cell):
        return DASH
    interval = bootstrap.lift(line.cell, floor.cell, ceiling.cell)
    if interval.low is None or interval.high is None:
        return DASH
    return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %".replace("-", "\u2212")


def _name(cell: Cell) -> str:
    settings = cell.variant.settings
    return f"{cell.variant.label} {settings}" if settings else cell.variant.label


def _unexplained(line: Summary) -> bool:
    return line.acc.mean is not None and line.lift.value is None and line.cell.method not in ("base", "lora")


def _short_of_seeds(lines: Sequence[Summary]) -> list[str]:
    most = max((line.acc.n for line in lines), default=0)
    return [
        f"{_name(line.cell)}: {line.acc.n} of {most} seeds"
        for line in lines
        if not _has_no_seed(line) and 0 < line.acc.n < most
    ]


def _absent_lines(comparison: Comparison, info: StudyInfo) -> list[AbsentRun]:
    """One planned run for every method that has no line on this base."""
    shown = {summary.cell.method for summary in comparison.summaries}
    absent: dict[str, AbsentRun] = {}
    for run in (*info.failed, *info.missing):
        if run.base == comparison.base and run.method is not None and run.method not in shown:
            absent.setdefault(run.method, run)
    if "base" not in shown:
        absent.setdefault("base", AbsentRun(method="base", base=comparison.base))
    if "lora" not in shown:
        absent.setdefault("lora", AbsentRun(method="lora", base=comparison.base))
    return list(absent.values())


def _has_no_seed(line: Summary) -> bool:
    """The frozen base and the zero update: nothing in them is drawn."""
    return line.cell.method == "base" or set(line.seeds) == {None}
