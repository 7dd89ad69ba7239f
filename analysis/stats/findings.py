"""`Findings`: all numbers of a study's report, computed once from its result folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from analysis.stats.aggregate import DEFAULT_RULE, Comparison, MethodSummary, compare, summarise_sources
from analysis.stats.bootstrap import (
    ACCURACY,
    LOG_LOSS,
    Bootstrap,
    bootstrap_accuracy,
    bootstrap_cells,
    choose_runs,
)
from analysis.stats.calibration import Calibration, calibrate
from analysis.stats.contrasts import Contrast, find_contrasts
from analysis.stats.curves import METRICS, CurveSet, build_curves
from analysis.stats.epoch_selection import KEPT, REPORTED_SPLIT, RULES
from analysis.stats.latents import LatentMap, load_latent_maps
from analysis.stats.leads import Lead, find_leads
from analysis.stats.loss_by_size import SizedLoss, find_losses
from analysis.stats.new_tasks import NewTasks, find_new_tasks
from analysis.stats.result_table import Cell, ResultSet, load_results
from analysis.stats.savings import Savings, find_savings
from analysis.stats.split_bootstrap import SplitBootstrap, bootstrap_splits
from analysis.stats.task_split import TaskSplit, split_tasks
from portal.methods import BASE, port_methods
from portal.results import (
    GENERATIONS,
    GENERATIONS_FILE,
    LATENTS_FILE,
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    UNITS,
    AbsentRun,
    StudyInfo,
    read_study_info,
    read_table,
)
from portal.run_details import Question, RunDetail, read_questions, read_run_details
from portal.search_record import SearchRecord, read_search


@dataclass(frozen=True)
class Target:
    """A target base: comparisons by selection rule, a bootstrap if predictions exist, curves by metric.

    `slug` is the base's part in file names. `kept` has every run at the epoch that it keeps: curves, savings,
    `losses`, `leads` and `task_splits` are read there. The last are of ports, and controls of them, that may
    be calibrated on some tasks. `absent` are the planned runs on the base without results.
    """

    base: str
    slug: str
    rules: Mapping[str, Comparison]
    kept: Comparison
    bootstrap: Bootstrap | None
    calibrations: tuple[Calibration, ...]
    curves: Mapping[str, CurveSet]
    savings: Savings
    losses: tuple[SizedLoss, ...]
    leads: tuple[Lead, ...]
    task_splits: tuple[TaskSplit, ...]
    split_bootstrap: SplitBootstrap | None
    new_tasks: NewTasks | None
    absent: tuple[AbsentRun, ...]
    contrasts: tuple[Contrast, ...] = ()  # of the port's answers to the LoRA's

    @property
    def comparison(self) -> Comparison:
        """The comparison that the report leads with."""
        return self.rules[DEFAULT_RULE]

    @property
    def score_name(self) -> str:
        """What scores are: the metric of all tasks, or `score`."""
        return self.kept.score_name

    @property
    def port(self) -> MethodSummary | None:
        """The port that the report leads with."""
        ports = map(self.comparison.representative, port_methods())
        return next((port for port in ports if port is not None), None)


@dataclass(frozen=True)
class Findings:
    """A study's targets, ports first, its source runs and its record."""

    study: ResultSet
    targets: tuple[Target, ...]
    sources: tuple[MethodSummary, ...]
    info: StudyInfo
    predictions: pa.Table | None
    latent_maps: tuple[LatentMap, ...] = ()
    search: SearchRecord | None = None  # of settings, where the study was one
    details: Mapping[str, RunDetail] = field(default_factory=dict)  # by run key, in the study's order
    generations: pa.Table | None = None
    questions: Mapping[tuple[str, str], Question] = field(default_factory=dict)

    def bootstrap(self, cells: Sequence[Cell]) -> Bootstrap | None:
        """The bootstrap of any cells under DEFAULT_RULE; None without predictions or a run to judge."""
        if self.predictions is None:
            return None
        chosen = choose_runs(self.study, cells, DEFAULT_RULE)
        return bootstrap_accuracy(chosen, chosen.answers(self.predictions)) if chosen.runs else None


def load_findings(results: Path, info: StudyInfo | None = None) -> Findings:
    """The findings in the folder `results` of a study's collected tables.

    `info` is by default the study's record beside the tables. Without predictions there are no intervals.
    Raises ValueError when the result table is missing, unreadable, empty or mixes evaluation sets.
    """
    known = read_study_info(results) if info is None else info
    study = load_runs(results, known)
    predictions = _read_predictions(results / PREDICTIONS_FILE, study)
    slugs = slugs_of(study.targets)
    targets = tuple(
        find_target(study, base, slug=slugs[base], info=known, predictions=predictions)
        for base in study.targets
    )
    generations, questions = _read_generations(results / GENERATIONS_FILE), read_questions(results)
    searched, details = read_search(results), read_run_details(results)
    targets = tuple(
        replace(
            each,
            contrasts=find_contrasts(
                study,
                each.comparison,
                each.port,
                predictions=predictions,
                generations=generations,
                questions=questions,
            ),
        )
        for each in targets
    )
    maps = load_latent_maps(results / LATENTS_FILE, study, study.kinds)
    sources = summarise_sources(study)
    return Findings(
        study, targets, sources, known, predictions, maps, searched, details, generations, questions
    )


def load_runs(results: Path, info: StudyInfo | None = None) -> ResultSet:
    """The runs in the folder `results` of a study's collected tables, with scores of the study's own tasks.

    Runs of joint training stay whole: those were trained on other tasks.

    ValueError when the result table is missing, unreadable, empty or mixes evaluation sets.
    """
    known = read_study_info(results) if info is None else info
    study = load_results(results / RESULTS_FILE, known.workers, known.device_share)
    study = replace(study, kinds=known.kinds)
    if known.own_tasks:
        study = study.of_tasks(known.own_tasks)
    if not study.runs:
        raise ValueError(f"{results / RESULTS_FILE}: no finished run yet, nothing to report")
    return study


def find_target(
    study: ResultSet,
    base: str,
    *,
    slug: str,
    info: StudyInfo | None = None,
    predictions: pa.Table | None = None,
) -> Target:
    """The findings on one base; of the absent runs that the study's record has, those on it."""
    info = info or StudyInfo()
    rules = {rule: compare(study, base, rule) for rule in RULES}
    kept = compare(study, base, KEPT)
    found = {metric: build_curves(kept, metric) for metric in METRICS}
    curves = {metric: curve for metric, curve in found.items() if curve is not None}
    bootstrap, calibrations = _judge_headlines(study, rules[DEFAULT_RULE], predictions)
    sized = bootstrap_cells(study, kept, predictions, {"acc": ACCURACY, "log_loss": LOG_LOSS})
    splits = split_tasks(study, base)
    return Target(
        base=base,
        slug=slug,
        rules=rules,
        kept=kept,
        bootstrap=bootstrap,
        calibrations=calibrations,
        curves={m: c.with_intervals(sized[m]) if m in sized else c for m, c in curves.items()},
        savings=find_savings(curves["acc"], sized.get("acc")) if "acc" in curves else Savings(),
        losses=find_losses(kept, sized.get("log_loss")),
        leads=find_leads(kept, sized.get("acc"), info.source_tasks),
        task_splits=splits,
        split_bootstrap=_bootstrap_splits(study, base, splits, predictions),
        new_tasks=find_new_tasks(study, base, info, predictions),
        absent=tuple(run for run in info.absent if run.base == base),
    )


def slugs_of(bases: Sequence[str]) -> dict[str, str]:
    """File name parts for `bases`: lower case, no separators, numbered where two would be equal."""
    slugs: dict[str, str] = {}
    for base in bases:
        plain = re.sub(r"[^a-z0-9.]+", "-", base.lower()).strip("-.") or "base"
        taken = sum(slug == plain or slug.startswith(f"{plain}--") for slug in slugs.values())
        slugs[base] = f"{plain}--{taken + 1}" if taken else plain
    return slugs


def _judge_headlines(
    study: ResultSet, comparison: Comparison, predictions: pa.Table | None
) -> tuple[Bootstrap | None, tuple[Calibration, ...]]:
    """Bootstrap and calibration of the headline summaries; none without predictions or a score."""
    cells = [summary.cell for summary in comparison.headline_summaries if summary.acc.mean is not None]
    if predictions is None or not cells:
        return None, ()
    chosen = choose_runs(study, cells, comparison.rule)
    answers = chosen.answers(predictions)
    with_choices = {task: own for task, own in answers.items() if own.has_choices}
    found = calibrate(chosen, with_choices) if with_choices else ()
    calibrations = sorted(found, key=lambda each: cells.index(each.cell))
    return bootstrap_accuracy(chosen, answers), tuple(calibrations)


def _bootstrap_splits(
    study: ResultSet, base: str, splits: Sequence[TaskSplit], predictions: pa.Table | None
) -> SplitBootstrap | None:
    """The groups of tasks of all `splits`; None without any or without predictions."""
    if predictions is None or not splits:
        return None
    frozen = [cell for cell in study.cells if (cell.base, cell.method) == (base, BASE.name)]
    chosen = choose_runs(study, [*frozen, *(split.cell for split in splits)], KEPT)
    return bootstrap_splits(chosen, chosen.answers(predictions))


def _read_generations(path: Path) -> pa.Table | None:
    """Written answers to reported rows; None without the file."""
    if not path.exists():
        return None
    return read_table(path, GENERATIONS, filters=[("split", "==", REPORTED_SPLIT)])


def _read_predictions(path: Path, study: ResultSet) -> pa.Table | None:
    """The predictions on reported rows, with the lengths that metrics divide by; None without the file."""
    if not path.exists():
        return None
    used = {UNITS[run.acc_norm_unit] for run in study.runs if run.acc_norm_unit in UNITS}
    unused = set(UNITS.values()) - used - {"tokens"}  # log-loss divides by tokens
    columns = [name for name in PREDICTIONS.names if name not in unused]
    return read_table(path, PREDICTIONS, columns=columns, filters=[("split", "==", REPORTED_SPLIT)])
