"""The report of one study as `ReportDocument`, with its search or grids."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.figures.accuracy import (
    draw_kinds,
    draw_methods,
    draw_ranks,
    draw_reliability,
    draw_task_parts,
    draw_tasks,
)
from analysis.figures.curves import draw_curves
from analysis.figures.figure import Drawing
from analysis.figures.latents import draw_latents
from analysis.figures.search import draw_contour, draw_parallel
from analysis.report.few_rows import describe_losses, new_tasks_block, without_rows_block, without_rows_tiles
from analysis.report.html import Block, Facts, Gallery, ReportDocument, ReportOptions, Section, Tile
from analysis.report.run_pages import PAGES_FOLDER
from analysis.report.sentences import (
    capitalised,
    compare_methods,
    count_kinds,
    count_seeds,
    describe_savings,
    headline,
    state_lift_interval,
    state_times,
)
from analysis.stats.bootstrap import LEVEL, NUM_DRAWS, lift_interval
from analysis.stats.curves import AXES, headline_savings
from analysis.stats.findings import Findings, Target
from analysis.stats.grids import find_grids
from analysis.stats.result_table import describe_absent
from analysis.tables.accuracy import (
    calibration_table,
    comparisons_table,
    kinds_table,
    main_table,
    overview_table,
    per_task_table,
    rules_table,
    seed_spread_table,
    sources_table,
    variants_table,
)
from analysis.tables.curves import (
    curve_table,
    leads_table,
    log_loss_table,
    run_cost_table,
    savings_table,
    study_cost_table,
)
from analysis.tables.runs import contrasts_table, importance_table, trials_table
from analysis.tables.table import DASH, format_number, format_percent
from portal.messages import counted
from portal.results import ACC_NORM, MANY_TASKS, AbsentRun, Fact, StudyInfo, tasks_by_kind
from portal.search_record import SearchRecord

LEAD = (
    "Recovered lift: the share of the rise from the frozen base to a LoRA for each task that a method "
    "reaches. Scores are on test rows; where several epochs were scored, one is chosen on validation rows."
)
_LENGTHS = {
    "chars": "characters, leading space included",
    "bytes": "bytes, leading space included",
    "tokens": "tokens",
    "lm-eval": "characters without the leading space",
}
_ACCURACY_NOTES = (
    "Where several epochs were scored, one is chosen on validation rows; scores are read on test rows, which "
    "nothing was chosen on.",
    "Means are over tasks within a seed first, then over seeds; ± is the sample std over seeds.",
    "Recovered lift is a ratio of task means, (method − base) / (per-task LoRA − base). It is left out, with "
    "the reason, where the LoRA does not rise above the base.",
    f"Intervals ({100 * LEVEL:.0f} %) resample clusters of rows (of one passage, source or person; one "
    "that several tasks have is drawn once for all of them) and seeds, in data efficiency, in tasks without "
    "a row, in new tasks and between ports and other methods by rows the tasks, too; they are paired over "
    f"methods, in {NUM_DRAWS:,} draws. With few seeds or tasks they may understate the variation between "
    "them.",
    "Log-losses are comparable within one base only: tokenizers differ.",
)
_WITHOUT_ROWS_NOTE = (
    "Some ports were trained on a part of their tasks and scored on all. Their means elsewhere are over both "
    "groups of tasks, which the table of tasks without a row shows apart. The share of the rise is (port - "
    "frozen base) on tasks without a row, divided by the same on calibrated tasks. The groups have unlike "
    "tasks, so the share also holds what sets these apart. The headline is the port with nearest to half of "
    "its tasks calibrated and the most rows; a control is one that saw as many rows of the same tasks."
)
_CALIBRATION_NOTE = (
    "Calibration reads a choice's probability as the softmax over the choices of their log-likelihoods, not "
    "normalised by length. ECE pools the answers of all tasks in fifteen bins of equal width. It lies above "
    "the truth by the noise of its bins; its interval reaches down as far as that noise may."
)
_CHOICE_NOTE = (
    "Where a method has several variants and none alone bears its plain name, one stands for it in the "
    "headline, in the table of all bases and in the sentences: the one with the highest score on "
    "validation rows at the reported epoch. No test row takes part in that choice."
)
_COST_NOTE = (
    "Training s are a run's share of its pack's time on one worker, by tokens: runs that are trained "
    "together share forwards. Device-hours count all devices that a run holds. Scoring is not part of it."
)
_CURVE_NOTE = (
    "What an equal score needs is read off the seed means at the epoch that a run keeps, made to rise with "
    "the size (isotonic regression) and linear between sizes along the logarithm of the axis. Rows of all "
    "tasks count validation rows where an epoch was chosen on them. Operations and time are those of a run's "
    "own training: what joint training took before is not part of a port's."
)


def study_document(findings: Findings, options: ReportOptions) -> ReportDocument:
    """The whole report of one study."""
    pages = PAGES_FOLDER if findings.details else None
    sections = [_target_section(target, _grids(findings, target), pages) for target in findings.targets]
    if findings.search is not None and (section := search_section(findings.search)) is not None:
        sections.insert(0, section)
    return ReportDocument(
        title=options.title,
        lead=LEAD,
        tiles=tuple(_tiles(findings)),
        sections=(*sections, _study_section(findings, options)),
        facts=(study_facts(findings),),
        absent=absent_runs(findings.info),
        notes=tuple(study_notes(findings)),
    )


def study_facts(findings: Findings, title: str = "What was run") -> Facts:
    """Facts on what was run, from the result table and the study's record."""
    study = findings.study
    facts: dict[str, Fact] = {
        "study": ", ".join(study.names) or DASH,
        "runs with results": str(len({run.key for run in study.runs})),
        "tasks": ", ".join(sorted({task for run in study.runs for task in run.tasks})),
        "prompt set": ", ".join(study.prompt_sets),
        "device": ", ".join(study.devices),
        **findings.info.facts,
    }
    if apart := sorted({run.cell.base for run in study.runs if run.choices_together is False}):
        facts["one choice in a scored row"] = ", ".join(apart)
    own = findings.info.own_tasks or {task for run in study.runs for task in run.tasks}
    kinds = tasks_by_kind(own, study.kinds)
    if kinds:
        facts["tasks"] = count_kinds(kinds)
    return Facts(title, facts, study.eval_sets)


def study_notes(findings: Findings) -> list[str]:
    """Notes for reading the numbers of a study's report."""
    notes = [*accuracy_notes(findings), _COST_NOTE]
    if any(_has_choice(target) for target in findings.targets):
        notes.append(_CHOICE_NOTE)
    if any(target.task_splits for target in findings.targets):
        notes.append(_WITHOUT_ROWS_NOTE)
    if any(target.calibrations for target in findings.targets):
        notes.append(_CALIBRATION_NOTE)
    if any(target.curves for target in findings.targets):
        notes.append(_CURVE_NOTE)
    if findings.study.duplicates:
        number = len(findings.study.duplicates)
        notes.append(
            f"{number} runs fill the place (method, base, size, seed) of another run with more scored epochs "
            f"and are not counted: {', '.join(findings.study.duplicates)}."
        )
    return notes


def _mixed_note(metrics: Mapping[str, str]) -> str:
    """What the score of every task is, where they have several metrics."""
    tasks: dict[str, list[str]] = {}
    for task, metric in sorted(metrics.items()):
        tasks.setdefault(metric, []).append(task)
    listed = "; ".join(
        f"{metric} of {', '.join(own) if len(own) <= MANY_TASKS else f'{len(own)} tasks'}"
        for metric, own in tasks.items()
    )
    return f"A task's score is by its own metric, and means over tasks mix them: {listed}."


def accuracy_notes(findings: Findings) -> list[str]:
    """Notes for reading accuracies and their intervals."""
    notes = [*findings.info.notes, *_ACCURACY_NOTES]
    metrics = findings.study.metrics
    units = {run.acc_norm_unit for run in findings.study.runs} if ACC_NORM in metrics.values() else set()
    if len(set(metrics.values())) > 1:
        notes.append(_mixed_note(metrics))
    for unit in sorted(units):
        notes.append(f"acc_norm divides a choice's log-likelihood by its length in {_LENGTHS[unit]}.")
    if findings.predictions is None:
        notes.append(
            "There is no predictions.parquet beside the result table, so there are no intervals and no "
            "calibration."
        )
    return notes


def absent_runs(info: StudyInfo) -> dict[str, tuple[str, ...]]:
    """Lines for runs that failed and for those not finished, by heading."""
    groups = {"Failed": info.failed, "Not finished": info.missing}
    return {heading: tuple(map(_with_cause, runs)) for heading, runs in groups.items() if runs}


def _has_choice(target: Target) -> bool:
    """Whether a method's representative was chosen among several candidates."""
    comparison = target.comparison
    methods = {summary.cell.method for summary in comparison.headline_summaries}
    return any(len(comparison.candidates(method)) > 1 for method in methods)


def _tiles(findings: Findings) -> list[Tile]:
    """How much less data ports need than LoRAs, what they do without any, and what lift they recover."""
    targets = _targets_with_tiles(findings)
    parts = (_savings_tiles, without_rows_tiles, _lift_tiles)
    return [tile for tiles in parts for target in targets for tile in tiles(target)]


def _targets_with_tiles(findings: Findings) -> list[Target]:
    """Those with a port or a control of one, or whose runs are missing; all where there is no such base."""
    found = [
        target
        for target in findings.targets
        if target.port is not None or target.task_splits or target.absent
    ]
    return found or list(findings.targets)


def _savings_tiles(target: Target) -> list[Tile]:
    """What the port needs of the LoRA's rows, for the greatest share of its lift that has a headline."""
    port = target.port
    if port is None or port.lift.value is None:
        return []
    own = [saving for saving in target.savings.found if saving.variant == port.cell.variant]
    title = "data on {}, at {:.0f} % of the per-task LoRA's lift"
    return [
        Tile(
            state_times(saving.ratio),
            title.format(target.base, 100 * saving.share),
            describe_savings(own, target.score_name)[0],
        )
        for saving in headline_savings(own)
        if saving.axis == "size" and saving.ratio.value is not None
    ]


def _lift_tiles(target: Target) -> list[Tile]:
    comparison, port = target.comparison, target.port
    frozen_base, lora = comparison.frozen_base, comparison.reference_lora
    title = f"recovered lift on {target.base}"
    if port is None or port.lift.value is None or frozen_base is None or lora is None:
        return [Tile(DASH, title, headline(target))]
    interval = lift_interval(port, comparison, target.bootstrap)
    text = capitalised(
        f"{count_seeds(port.acc.n)}{state_lift_interval(interval)}. {target.score_name}: base "
        f"{format_number(frozen_base.acc.mean)}, {comparison.name(port)} {format_number(port.acc.mean)}, "
        f"per-task LoRA {format_number(lora.acc.mean)}."
    )
    return [Tile(format_percent(port.lift), title, text)]


def _grids(findings: Findings, target: Target) -> tuple[SearchRecord, ...]:
    """Grids of settings on the base; the report of a search has its own section on them."""
    if findings.search is not None:
        return ()
    return find_grids(findings.study, target.base, findings.details)


def _target_section(target: Target, grids: Sequence[SearchRecord], pages: str | None) -> Section:
    """The findings on one base: accuracy, data efficiency, calibration."""
    blocks = [_accuracy_block(target, pages)]
    if "acc" in target.curves:
        blocks.append(_curve_block(target))
    for block in (without_rows_block(target), new_tasks_block(target)):
        if block is not None:
            blocks.append(block)
    if target.calibrations:
        tables, drawings = (calibration_table(target),), (draw_reliability(target),)
        blocks.append(Block("Calibration", tables=tables, drawings=drawings))
    blocks += [grid_block(grid, target.slug) for grid in grids]
    return Section(target.base, tuple(blocks), headline(target))


def _accuracy_block(target: Target, pages: str | None) -> Block:
    comparison, slug = target.comparison, target.slug
    by_task, galleries = _task_drawings(target)
    drawings = (draw_methods(comparison, slug), draw_ranks(comparison, slug), by_task)
    folded = (
        per_task_table(target),
        rules_table(target),
        variants_table(target),
        comparisons_table(target),
        leads_table(target),
        contrasts_table(target, pages),
    )
    return Block(
        tables=tuple(filter(None, (main_table(target), kinds_table(target)))),
        drawings=tuple(filter(None, drawings)),
        remarks=compare_methods(target),
        folded=tuple(filter(None, folded)),
        galleries=galleries,
    )


def _task_drawings(target: Target) -> tuple[Drawing | None, tuple[Gallery, ...]]:
    """The drawing by kind, and those of single tasks to fold away; few tasks without kinds lie open."""
    comparison, slug = target.comparison, target.slug
    if not comparison.kinds and len(comparison.chance) <= MANY_TASKS:
        return draw_tasks(comparison, slug), ()
    parts = draw_task_parts(comparison, slug)
    gallery = Gallery(f"{target.base}: {target.score_name} by task, as figures", parts)
    return draw_kinds(comparison, slug), (gallery,) if parts else ()


def _curve_block(target: Target) -> Block:
    drawings = [
        drawing
        for axis in AXES
        for curves in target.curves.values()
        if (drawing := draw_curves(curves, axis, target.slug)) is not None
    ]
    found = target.savings.found
    if target.savings.reason is None:
        lead = describe_savings(found, target.score_name)
    else:
        lead = [f"What an equal {target.comparison.score_word} needs is not known: {target.savings.reason}."]
    lead += describe_losses(target)
    return Block(
        "Data efficiency",
        lead=tuple(lead),
        tables=(savings_table(target),) if found else (),
        drawings=tuple(drawings),
        folded=tuple(filter(None, (curve_table(target), log_loss_table(target)))),
    )


def _study_section(findings: Findings, options: ReportOptions) -> Section:
    """All bases in one table, the costs, the source runs and a map of their latents."""
    comparisons = [target.comparison for target in findings.targets]
    tables = [overview_table(comparisons)] if comparisons else []
    tables += [run_cost_table(comparisons, options.price), study_cost_table(findings.study, options.price)]
    if findings.sources:
        tables.append(sources_table(findings.sources, findings.study.score_name))
    spread = seed_spread_table(comparisons, findings.sources, findings.study.score_name)
    blocks = [Block(tables=tuple(tables), folded=() if spread is None else (spread,))]
    if findings.latent_maps:
        maps = [draw_latents(each, number) for number, each in enumerate(findings.latent_maps, start=1)]
        blocks.append(Block("Task latents", drawings=tuple(maps)))
    return Section("The study", tuple(blocks))


def _with_cause(run: AbsentRun) -> str:
    """One line on a run without results."""
    cause = f": {run.cause}" if run.cause else ""
    return f"{describe_absent(run)}{cause}" + (f" (log: {run.log})" if run.log else "")


TITLE = "Which setting mattered"
_HOW = (
    "A setting's share is the part of the variance of the score that it explains alone, over {values}, in a "
    "random forest fitted to the {unit}s (fANOVA); the rest is explained by several together. Intervals "
    "(95 %) are of halves of the {unit}s."
)
_RANGES = "the ranges that were searched"
_LEVELS = "the values in the study, each weighed alike"
_STOPPED = "Trials that were stopped early have no part."
_TOGETHER = "Settings that always change together are one here, named by the first of them."
_CHANCE = "The seed is a setting: its share is what chance is worth."


def search_section(record: SearchRecord) -> Section | None:
    """What the search says of its settings; None before any trial has come to its end."""
    if not record.complete:
        return None
    how = f"{_HOW.format(values=_RANGES, unit=record.unit)} {_STOPPED}"
    return Section(TITLE, (_block(record, "search", how),), _headline(record))


def grid_block(record: SearchRecord, slug: str) -> Block:
    """What a method's runs say of their settings; `slug` is the base's part in file names."""
    how = f"{_HOW.format(values=_LEVELS, unit=record.unit)} {_TOGETHER}"
    if "seed" in record.importance:
        how = f"{how} {_CHANCE}"
    block = _block(record, f"grid-{record.method}-{slug}", how)
    return replace(block, title=f"{TITLE}: {record.name}", lead=(_headline(record), *block.lead))


def _block(record: SearchRecord, slug: str, how: str) -> Block:
    drawings = filter(None, (draw_parallel(record, slug), draw_contour(record, slug)))
    table = importance_table(record, slug)
    return Block(
        lead=(how,) if record.unknown is None else (),
        tables=() if table is None else (table,),
        drawings=tuple(drawings),
        folded=(trials_table(record, slug),),
    )


def _headline(record: SearchRecord) -> str:
    counts = _counts(record)
    if record.unknown is not None:
        return f"{counts} Which setting mattered is not known: {record.unknown}."
    (name, first), *others = record.ranked
    told = f"{counts} {name} explains {100 * first.share:.0f} % of the variance of {record.metric} alone"
    if not others:
        return f"{told}."
    rival, most = max(others, key=lambda item: item[1].high)
    if first.low > most.high:
        return f"{told}, more than any other."
    return f"{told}; whether it matters more than {rival} ({100 * most.share:.0f} %) cannot be told."


def _counts(record: SearchRecord) -> str:
    """How many trials or runs there are to tell by."""
    count, all_ = len(record.complete), len(record.trials)
    if record.unit == "trial":
        return f"{count} of {all_} trials of {record.name} came to their end."
    without = f"; {all_ - count} more without validation rows" if all_ > count else ""
    return f"{counted(count, 'run')} of {record.name}{without}."
