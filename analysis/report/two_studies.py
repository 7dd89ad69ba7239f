"""The report of two studies side by side: the same methods, bases and rows, and what differs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill

import matplotlib
from matplotlib.figure import Figure

from analysis.figures.figure import (
    METRIC_LABELS,
    NAME_CHARS,
    WIDTH_IN,
    Drawing,
    list_points,
    state_spread,
    widen,
)
from analysis.figures.style import RC
from analysis.report.document import Block, ReportDocument, Section
from analysis.report.one_study import LEAD, absent_runs, accuracy_notes, slugs_of, study_facts
from analysis.report.sentences import state_difference
from analysis.stats.aggregate import Comparison, MethodSummary, Spread
from analysis.stats.bootstrap import Bootstrap, Interval
from analysis.stats.epoch_selection import RULE_TITLES
from analysis.stats.findings import Findings
from analysis.stats.result_table import Cell, cell_order
from analysis.tables.accuracy import lift_reasons, name_of
from analysis.tables.columns import COUNT, PERCENT, POINTS, POINTS_RANGE, SPREAD, WORD, Column
from analysis.tables.costs import run_cost_table, study_cost_table
from analysis.tables.table import Table

_MARKS = (("#0072b2", "o"), ("#d55e00", "s"))


@dataclass(frozen=True)
class Pair:
    """One cell in two studies; None where a study has no result.

    The difference is second minus first, over the seeds that both have; null, with a reason, where it would
    compare unlike tasks or no seed is shared.
    """

    cell: Cell
    lines: tuple[MethodSummary | None, MethodSummary | None]
    difference: Interval
    num_seeds: int

    @property
    def name(self) -> str:
        size = "" if self.cell.size is None else f", {self.cell.size} rows"
        return f"{name_of(self.cell)}{size}"

    @property
    def is_in_both(self) -> bool:
        return all(line is not None and line.acc.mean is not None for line in self.lines)


def pair_document(
    title: str, findings: tuple[Findings, Findings], names: tuple[str, str], price: float | None
) -> ReportDocument:
    """Everything that the report of two studies says; `price` is that of a device-hour.

    Raises ValueError when they cannot be compared: unlike evaluation sets, units of acc_norm, or no base and
    task in common.
    """
    if names[0] == names[1]:
        names = (f"{names[0]} (1)", f"{names[1]} (2)")
    _check_comparable(findings, names)
    targets = [[target.base for target in each.targets] for each in findings]
    bases = [base for base in targets[0] if base in targets[1]]
    if not bases:
        raise ValueError(f"{names[0]} and {names[1]} have no base in common, there is nothing to compare")
    slugs = slugs_of(bases)
    sections = [_section(base, findings, names, slugs[base]) for base in bases]
    alone = [
        f"{base} is in {name} only."
        for name, own, other in zip(names, targets, targets[::-1], strict=True)
        for base in own
        if base not in other
    ]
    numbered = enumerate(zip(findings, names, strict=True), start=1)
    sections += [_cost_section(each, name, number, price) for number, (each, name) in numbered]
    notes = list(dict.fromkeys(note for each in findings for note in accuracy_notes(each)))
    absent = {
        f"{heading} in {name}": runs
        for name, each in zip(names, findings, strict=True)
        for heading, runs in absent_runs(each.info).items()
    }
    return ReportDocument(
        title=title,
        lead=f"{names[0]} and {names[1]} side by side; differences are {names[1]} minus {names[0]}. {LEAD}",
        tiles=(),
        sections=tuple(sections),
        facts=tuple(study_facts(each, name) for each, name in zip(findings, names, strict=True)),
        absent=absent,
        notes=(*alone, *_unlike(findings, names), *notes),
    )


def find_pairs(findings: tuple[Findings, Findings], base: str) -> list[Pair]:
    """Every cell on `base` that is a main line of either study."""
    comparisons = [_comparison(each, base) for each in findings]
    cells = sorted({line.cell for each in comparisons for line in each.main}, key=cell_order)
    lines = {cell: (_find(comparisons[0], cell), _find(comparisons[1], cell)) for cell in cells}
    both = [cell for cell, (first, second) in lines.items() if _is_scored(first) and _is_scored(second)]
    bootstrap = _join([each.bootstrap(both) for each in findings])
    return [_pair(cell, lines[cell], bootstrap) for cell in cells]


def _comparison(findings: Findings, base: str) -> Comparison:
    return next(target.comparison for target in findings.targets if target.base == base)


def _is_scored(line: MethodSummary | None) -> bool:
    return line is not None and line.acc.mean is not None


def _pair(
    cell: Cell, lines: tuple[MethodSummary | None, MethodSummary | None], bootstrap: Bootstrap | None
) -> Pair:
    first, second = lines
    tagged = _tag(cell, 0), _tag(cell, 1)
    if first is None or second is None or not _is_scored(first) or not _is_scored(second):
        return Pair(cell, lines, _undefined("no result in one of the studies"), 0)
    if first.tasks != second.tasks:
        return Pair(cell, lines, _undefined("the studies have other tasks"), 0)
    if bootstrap is None or any(tag not in bootstrap.members for tag in tagged):
        return Pair(cell, lines, _undefined("predictions are missing"), 0)
    if not bootstrap.can_compare(*tagged):
        return Pair(cell, lines, _undefined("the studies share no seed"), 0)
    seeds = len(bootstrap.shared_seeds(*tagged))
    return Pair(cell, lines, bootstrap.difference(tagged[1], tagged[0]), seeds)


def _undefined(reason: str) -> Interval:
    return Interval(None, None, None, reason=reason)


def _check_comparable(findings: tuple[Findings, Findings], names: tuple[str, str]) -> None:
    first, second = findings[0].study, findings[1].study
    shared = sorted(set(first.eval_sets) & set(second.eval_sets))
    if not shared:
        raise ValueError(f"{names[0]} and {names[1]} have no task in common, there is nothing to compare")
    for task, split in shared:
        hashes = first.eval_sets[task, split], second.eval_sets[task, split]
        if hashes[0] != hashes[1]:
            raise ValueError(
                f"task {task!r}, split {split!r}: {names[0]} and {names[1]} were scored on unlike evaluation "
                f"sets ({hashes[0][:12]} and {hashes[1][:12]}); report them apart"
            )
    units = [sorted({run.acc_norm_unit for run in study.runs}) for study in (first, second)]
    if units[0] != units[1]:
        raise ValueError(
            f"acc_norm divides by {', '.join(units[0])} in {names[0]} and by {', '.join(units[1])} in "
            f"{names[1]}; report them apart"
        )


def _unlike(findings: tuple[Findings, Findings], names: tuple[str, str]) -> list[str]:
    """What differs between the studies, though their rows are the same."""
    first, second = findings[0].study, findings[1].study
    notes = []
    if first.prompt_sets != second.prompt_sets:
        sets = [", ".join(study.prompt_sets) for study in (first, second)]
        notes.append(f"Prompts differ: {sets[0]} in {names[0]}, {sets[1]} in {names[1]}.")
    for base in sorted(set(first.revisions) & set(second.revisions)):
        if first.revisions[base] != second.revisions[base]:
            notes.append(f"The revision of {base} differs: the studies have other weights.")
    return notes


def _cost_section(findings: Findings, name: str, number: int, price: float | None) -> Section:
    """What one of the studies took."""
    tables = (
        run_cost_table([target.comparison for target in findings.targets], price),
        study_cost_table(findings.study, price),
    )
    named = tuple(replace(table, slug=f"{table.slug}-{number}") for table in tables)
    return Section(f"What {name} took", (Block(folded=named),))


def _join(both: Sequence[Bootstrap | None]) -> Bootstrap | None:
    """One bootstrap of both studies; their draws are paired, for clusters are drawn by task alone."""
    known = [(place, each) for place, each in enumerate(both) if each is not None]
    if len(known) < 2:
        return None
    members = {
        _tag(cell, place): {seed: f"{place} {key}" for seed, key in runs.items()}
        for place, each in known
        for cell, runs in each.members.items()
    }
    draws = {f"{place} {key}": drawn for place, each in known for key, drawn in each.draws.items()}
    points = {f"{place} {key}": point for place, each in known for key, point in each.points.items()}
    return Bootstrap(members, draws, points, known[0][1].seed)


def _tag(cell: Cell, place: int) -> Cell:
    return cell._replace(variant=cell.variant._replace(name=f"{cell.variant.name} #{place}"))


def _find(comparison: Comparison, cell: Cell) -> MethodSummary | None:
    return next((line for line in comparison.summaries if line.cell == cell), None)


def _section(base: str, findings: tuple[Findings, Findings], names: tuple[str, str], slug: str) -> Section:
    pairs = find_pairs(findings, base)
    comparisons = _comparison(findings[0], base), _comparison(findings[1], base)
    sentences = [
        state_difference(f"{pair.name} in {names[1]}", f"in {names[0]}", pair.difference, pair.num_seeds)
        if pair.difference.low != pair.difference.high or pair.difference.value
        else f"{pair.name}: both studies have the same answers."
        for pair in pairs
        if pair.difference.value is not None
    ]
    drawing = _draw_pairs(base, pairs, names, slug)
    part = Block(
        tables=(_pair_table(comparisons, pairs, names, slug),),
        drawings=() if drawing is None else (drawing,),
        remarks=tuple(sentences),
        folded=(_pair_task_table(base, pairs, names, slug),),
    )
    return Section(base, (part,))


def _pair_table(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table:
    rows = []
    reasons = []
    for place, (comparison, name) in enumerate(zip(comparisons, names, strict=True)):
        lines = [line for pair in pairs if (line := pair.lines[place]) is not None]
        reasons += [f"{name}, {reason}" for reason in lift_reasons(comparison, lines)]
    for pair in pairs:
        row: list[object] = [pair.cell.variant.label, pair.cell.variant.settings or None, pair.cell.size]
        for line in pair.lines:
            row.append(None if line is None else line.acc)
        row += [pair.difference.value, pair.difference]
        for line in pair.lines:
            row.append(None if line is None else line.lift)
        rows.append(tuple(row))
        reasons += [
            f"{pair.name}: no result in {name}"
            for line, name in zip(pair.lines, names, strict=True)
            if line is None or line.acc.mean is None
        ]
        if pair.is_in_both and pair.difference.reason:
            reasons.append(f"{pair.name}: no difference, for {pair.difference.reason}")
    columns = (
        Column("method", WORD),
        Column("adapter", WORD),
        Column("size", COUNT),
        Column(names[0], SPREAD),
        Column(names[1], SPREAD),
        Column("difference (points)", POINTS),
        Column("difference: 95 %", POINTS_RANGE),
        Column(f"{names[0]}: lift", PERCENT),
        Column(f"{names[1]}: lift", PERCENT),
    )
    chosen = any(comparison.chosen for comparison in comparisons)
    rule = RULE_TITLES[comparisons[0].rule] if chosen else "the only epoch scored"
    title = f"{comparisons[0].base}: acc_norm, {rule}"
    return Table(title, f"pair-{slug}", columns, tuple(rows), tuple(reasons))


def _pair_task_table(base: str, pairs: Sequence[Pair], names: tuple[str, str], slug: str) -> Table:
    both = [pair for pair in pairs if pair.is_in_both]
    tasks = sorted(
        {task for pair in both for line in pair.lines if line is not None for task in line.per_task}
    )
    columns = [Column("task", WORD)]
    for pair in both:
        columns += [Column(f"{pair.name}, {name}", SPREAD) for name in names]
    rows = [(task, *(_task_score(line, task) for pair in both for line in pair.lines)) for task in tasks]
    return Table(f"{base}: acc_norm by task", f"pair-tasks-{slug}", tuple(columns), tuple(rows))


def _task_score(line: MethodSummary | None, task: str) -> Spread | None:
    return None if line is None else line.per_task.get(task)


def _draw_pairs(base: str, pairs: Sequence[Pair], names: tuple[str, str], slug: str) -> Drawing | None:
    """Every cell as a row with a dot a study; None where nothing has a score."""
    shown = [
        pair for pair in pairs if any(line is not None and line.acc.mean is not None for line in pair.lines)
    ]
    if not shown:
        return None
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 1.5 + 0.5 * len(shown)), layout="constrained")
        points = [
            f"{pair.name} {line.acc.mean:.3f} in {name}"
            for pair in shown
            for line, name in zip(pair.lines, names, strict=True)
            if line is not None and line.acc.mean is not None
        ]
        drawing = Drawing(
            f"pair-{slug}",
            f"Accuracy on {base} in both studies: mean and sample std over seeds.",
            f"Dot plot of acc_norm on {base}. {list_points(points)}",
            figure,
        )
        axes = figure.add_subplot()
        handles = []
        for place, (name, (colour, marker)) in enumerate(zip(names, _MARKS, strict=True)):
            handles.append(axes.plot([], [], marker, color=colour, markersize=7.5, label=name)[0])
            for row, pair in enumerate(shown):
                line = pair.lines[place]
                if line is None or line.acc.mean is None:
                    continue
                height = row + (0.16 if place == 0 else -0.16)
                std = line.acc.std or 0.0
                axes.plot(
                    [line.acc.mean - std, line.acc.mean + std], [height, height], color=colour, linewidth=2.2
                )
                tip = drawing.tip(f"{pair.name}, {name}: {state_spread(line.acc.mean, line.acc.std)}")
                axes.plot(line.acc.mean, height, marker, color=colour, markersize=7.5, gid=tip)
        axes.set_yticks(range(len(shown)), [fill(pair.name, NAME_CHARS) for pair in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel(METRIC_LABELS["acc"])
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        widen(axes, 0.04, 0.04)
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return drawing
