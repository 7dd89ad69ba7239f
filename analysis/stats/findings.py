"""`Findings`: all numbers of a study's report, computed once from its result folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from analysis.stats.aggregate import DEFAULT_RULE, Comparison, MethodSummary, compare, summarise_sources
from analysis.stats.bootstrap import Bootstrap, Chosen, bootstrap_accuracy, choose_runs
from analysis.stats.calibration import Calibration, calibrate
from analysis.stats.curves import METRICS, CurveSet, build_curves
from analysis.stats.epoch_selection import REPORTED_SPLIT, RULES
from analysis.stats.result_table import Cell, ResultSet, load_results
from analysis.stats.savings import Savings, find_savings
from analysis.stats.task_split import TaskSplit, split_tasks
from portal.methods import port_methods
from portal.results import (
    PREDICTIONS,
    PREDICTIONS_FILE,
    RESULTS_FILE,
    UNITS,
    AbsentRun,
    StudyInfo,
    read_study_info,
    read_table,
)

CURVE_RULE = "final"


@dataclass(frozen=True)
class Target:
    """A target base: comparisons by selection rule, a bootstrap if predictions exist, curves by metric.

    `slug` is the base's part in file names. `task_splits` are of ports that have tasks without a row.
    `absent` are the planned runs on the base without results.
    """

    base: str
    slug: str
    rules: Mapping[str, Comparison]
    bootstrap: Bootstrap | None
    calibrations: tuple[Calibration, ...]
    curves: Mapping[str, CurveSet]
    savings: Savings
    task_splits: tuple[TaskSplit, ...]
    absent: tuple[AbsentRun, ...]

    @property
    def comparison(self) -> Comparison:
        """The comparison that the report leads with."""
        return self.rules[DEFAULT_RULE]

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
    study = load_results(results / RESULTS_FILE, known.workers, known.device_share)
    study = replace(study, kinds=known.kinds)
    if not study.runs:
        raise ValueError(f"{results / RESULTS_FILE}: no finished run yet, nothing to report")
    predictions = _read_predictions(results / PREDICTIONS_FILE, study)
    slugs = slugs_of(study.targets)
    targets = tuple(
        find_target(study, base, slug=slugs[base], absent=known.absent, predictions=predictions)
        for base in study.targets
    )
    return Findings(study, targets, summarise_sources(study), known, predictions)


def find_target(
    study: ResultSet,
    base: str,
    *,
    slug: str,
    absent: Sequence[AbsentRun] = (),
    predictions: pa.Table | None = None,
) -> Target:
    """The findings on one base; of the `absent` runs, those on it."""
    rules = {rule: compare(study, base, rule) for rule in RULES}
    found = {metric: build_curves(rules[CURVE_RULE], metric) for metric in METRICS}
    curves = {metric: curve for metric, curve in found.items() if curve is not None}
    bootstrap, calibrations = _judge_headlines(study, rules[DEFAULT_RULE], predictions)
    return Target(
        base=base,
        slug=slug,
        rules=rules,
        bootstrap=bootstrap,
        calibrations=calibrations,
        curves=curves,
        savings=_find_savings(study, curves.get("acc"), rules[CURVE_RULE], predictions),
        task_splits=split_tasks(study, base),
        absent=tuple(run for run in absent if run.base == base),
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
    calibrations = sorted(calibrate(chosen, answers), key=lambda each: cells.index(each.cell))
    return bootstrap_accuracy(chosen, answers), tuple(calibrations)


def _find_savings(
    study: ResultSet, curves: CurveSet | None, comparison: Comparison, predictions: pa.Table | None
) -> Savings:
    """The savings along the curves of accuracy, with intervals if there are predictions."""
    if curves is None:
        return Savings()
    if predictions is None:
        return find_savings(curves, None)
    chosen = _choose_curves(study, curves, comparison)
    return find_savings(curves, bootstrap_accuracy(chosen, chosen.answers(predictions)))


def _choose_curves(study: ResultSet, curves: CurveSet, comparison: Comparison) -> Chosen:
    cells = [Cell(curves.base, curve.variant, size) for curve in curves.curves for size in curve.sizes]
    base = [] if comparison.frozen_base is None else [comparison.frozen_base.cell]
    return choose_runs(study, [*base, *cells], CURVE_RULE)


def _read_predictions(path: Path, study: ResultSet) -> pa.Table | None:
    """The predictions on reported rows, with the lengths that acc_norm divides by; None without the file."""
    if not path.exists():
        return None
    unused = set(UNITS.values()) - {
        UNITS[run.acc_norm_unit] for run in study.runs if run.acc_norm_unit in UNITS
    }
    columns = [name for name in PREDICTIONS.names if name not in unused]
    return read_table(path, PREDICTIONS, columns=columns, filters=[("split", "==", REPORTED_SPLIT)])
