"""The report of two studies side by side: whether they can be compared, what is the same, what differs."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.figures.accuracy import draw_pairs
from analysis.report.html import Block, ReportDocument, ReportOptions, Section
from analysis.report.one_study import LEAD, absent_runs, accuracy_notes, study_facts
from analysis.report.sentences import state_difference
from analysis.stats.findings import Findings, Pair, comparison_on, find_pairs, slugs_of
from analysis.tables.accuracy import pair_kinds_table, pair_table, pair_task_table
from analysis.tables.curves import run_cost_table, study_cost_table


def pair_document(
    findings: tuple[Findings, Findings], names: tuple[str, str], options: ReportOptions
) -> ReportDocument:
    """The whole report of two studies.

    Raises ValueError when they cannot be compared: unlike evaluation sets, units of acc_norm, or no base and
    task in common.
    """
    if names[0] == names[1]:
        names = (f"{names[0]} (1)", f"{names[1]} (2)")
    check_comparable(findings, names)
    targets = [[target.base for target in each.targets] for each in findings]
    bases = [base for base in targets[0] if base in targets[1]]
    if not bases:
        raise ValueError(f"{names[0]} and {names[1]} have no base in common, there is nothing to compare")
    slugs = slugs_of(bases)
    sections = [_base_section(base, findings, names, slugs[base]) for base in bases]
    numbered = enumerate(zip(findings, names, strict=True), start=1)
    sections += [_cost_section(each, name, number, options) for number, (each, name) in numbered]
    return ReportDocument(
        title=options.title,
        lead=f"{names[0]} and {names[1]} side by side; differences are {names[1]} minus {names[0]}. {LEAD}",
        tiles=(),
        sections=tuple(sections),
        facts=tuple(study_facts(each, name) for each, name in zip(findings, names, strict=True)),
        absent={
            f"{heading} in {name}": runs
            for name, each in zip(names, findings, strict=True)
            for heading, runs in absent_runs(each.info).items()
        },
        notes=tuple(_notes(findings, names, targets)),
    )


def _notes(
    findings: tuple[Findings, Findings], names: tuple[str, str], targets: Sequence[Sequence[str]]
) -> list[str]:
    """Bases of one study alone, what differs between the studies, and how to read the numbers."""
    alone = [
        f"{base} is in {name} only."
        for name, own, other in zip(names, targets, targets[::-1], strict=True)
        for base in own
        if base not in other
    ]
    shared = dict.fromkeys(note for each in findings for note in accuracy_notes(each))
    return [*alone, *describe_differences(findings, names), *shared]


def _base_section(
    base: str, findings: tuple[Findings, Findings], names: tuple[str, str], slug: str
) -> Section:
    """The pairs on one base: a table, a figure, a sentence on each, and accuracies by task."""
    pairs = find_pairs(findings, base)
    comparisons = comparison_on(findings[0], base), comparison_on(findings[1], base)
    drawing = draw_pairs(base, pairs, names, slug, comparisons[0].score_name)
    block = Block(
        tables=tuple(
            filter(
                None,
                (
                    pair_table(comparisons, pairs, names, slug),
                    pair_kinds_table(comparisons, pairs, names, slug),
                ),
            )
        ),
        drawings=() if drawing is None else (drawing,),
        remarks=tuple(
            _state_pair(pair, names, comparisons[0].score_word)
            for pair in pairs
            if pair.difference.value is not None
        ),
        folded=(pair_task_table(comparisons[0], pairs, names, slug),),
    )
    return Section(base, (block,))


def _state_pair(pair: Pair, names: tuple[str, str], word: str) -> str:
    """One sentence on a pair that has a difference."""
    difference = pair.difference
    if difference.low == difference.high and not difference.value:
        return f"{pair.name}: both studies have the same answers."
    return state_difference(f"{pair.name} in {names[1]}", f"in {names[0]}", difference, pair.num_seeds, word)


def _cost_section(findings: Findings, name: str, number: int, options: ReportOptions) -> Section:
    """The cost of one of the studies."""
    tables = (
        run_cost_table([target.comparison for target in findings.targets], options.price),
        study_cost_table(findings.study, options.price),
    )
    named = tuple(replace(table, slug=f"{table.slug}-{number}") for table in tables)
    return Section(f"What {name} took", (Block(folded=named),))


def check_comparable(findings: tuple[Findings, Findings], names: tuple[str, str]) -> None:
    """ValueError where the studies share no task, or were scored on unlike rows or by unlike units."""
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


def describe_differences(findings: tuple[Findings, Findings], names: tuple[str, str]) -> list[str]:
    """Sentences on what differs between studies of the same rows: prompts and bases' weights."""
    first, second = findings[0].study, findings[1].study
    notes = []
    if first.prompt_sets != second.prompt_sets:
        sets = [", ".join(study.prompt_sets) for study in (first, second)]
        notes.append(f"Prompts differ: {sets[0]} in {names[0]}, {sets[1]} in {names[1]}.")
    for base in sorted(set(first.revisions) & set(second.revisions)):
        if first.revisions[base] != second.revisions[base]:
            notes.append(f"The revision of {base} differs: the studies have other weights.")
        precisions = [_precision(each, base) for each in findings]
        if precisions[0] != precisions[1]:
            values = [f"{value} in {name}" for value, name in zip(precisions, names, strict=True)]
            notes.append(f"The precision of {base} differs: {', '.join(values)}.")
    return notes


def _precision(findings: Findings, base: str) -> str:
    """The precision of a base's weights in the study, which names what is not the default."""
    named = findings.info.facts.get("precision", {})
    return named.get(base, "default") if isinstance(named, dict) else "default"
