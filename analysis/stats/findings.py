"""`Findings`: everything a report says about a study, computed once from its result folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from analysis.stats.aggregate import DEFAULT_RULE, Comparison, MethodSummary, compare, summarise_sources
from analysis.stats.bootstrap import Bootstrap, Chosen, bootstrap_accuracy, choose_runs
from analysis.stats.calibration import Calibration, calibrate
from analysis.stats.curves import METRICS, CurveSet, build_curves
from analysis.stats.epoch_selection import REPORTED_SPLIT, RULES
from analysis.stats.result_table import Cell, ResultSet, load_results
from analysis.stats.savings import Savings, find_savings
from analysis.stats.study_info import StudyInfo
from portal.results import PREDICTIONS, PREDICTIONS_FILE, RESULTS_FILE, UNITS, read_table

CURVE_RULE = "final"


@dataclass(frozen=True)
class Target:
    """A target base: comparisons by selection rule, a bootstrap if predictions exist, curves by metric."""

    base: str
    rules: Mapping[str, Comparison]
    bootstrap: Bootstrap | None
    calibrations: tuple[Calibration, ...]
    curves: Mapping[str, CurveSet]
    savings: Savings

    @property
    def comparison(self) -> Comparison:
        """The one the report leads with."""
        return self.rules[DEFAULT_RULE]

    @property
    def port(self) -> MethodSummary | None:
        """The port that the report leads with."""
        return self.comparison.find("portal")


@dataclass(frozen=True)
class Findings:
    """A study's targets, ports first, its source runs and what the caller told about it."""

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


def find(results: Path, info: StudyInfo) -> Findings:
    """The findings in the folder `results`. Without predictions there are no intervals.

    Raises ValueError when the result table is missing, unreadable, empty or mixes evaluation sets.
    """
    study = load_results(results / RESULTS_FILE, info.workers, info.device_share)
    if not study.runs:
        raise ValueError(f"{results / RESULTS_FILE}: no finished run yet, nothing to report")
    predictions = _read_predictions(results / PREDICTIONS_FILE, study)
    targets = tuple(_find_target(study, base, predictions) for base in study.targets)
    return Findings(study, targets, summarise_sources(study), info, predictions)


def _find_target(study: ResultSet, base: str, predictions: pa.Table | None) -> Target:
    rules = {rule: compare(study, base, rule) for rule in RULES}
    curves = {metric: build_curves(rules[CURVE_RULE], metric) for metric in METRICS}
    drawn = {metric: curve for metric, curve in curves.items() if curve is not None}
    bootstrap: Bootstrap | None = None
    calibrations: tuple[Calibration, ...] = ()
    main = [line.cell for line in rules[DEFAULT_RULE].main if line.acc.mean is not None]
    if predictions is not None and main:
        chosen = choose_runs(study, main, DEFAULT_RULE)
        answers = chosen.answers(predictions)
        bootstrap = bootstrap_accuracy(chosen, answers)
        calibrations = _in_order(calibrate(chosen, answers), main)
    savings = Savings()
    if "acc" in drawn:
        of_curves = None
        if predictions is not None:
            chosen = _choose_curves(study, drawn["acc"], rules[CURVE_RULE])
            of_curves = bootstrap_accuracy(chosen, chosen.answers(predictions))
        savings = find_savings(drawn["acc"], of_curves)
    return Target(base, rules, bootstrap, calibrations, drawn, savings)


def _choose_curves(study: ResultSet, curves: CurveSet, comparison: Comparison) -> Chosen:
    cells = [Cell(curves.base, curve.variant, size) for curve in curves.curves for size in curve.sizes]
    floor = [] if comparison.floor is None else [comparison.floor.cell]
    return choose_runs(study, [*floor, *cells], CURVE_RULE)


def _in_order(calibrations: Sequence[Calibration], cells: Sequence[Cell]) -> tuple[Calibration, ...]:
    return tuple(sorted(calibrations, key=lambda each: cells.index(each.cell)))


def _read_predictions(path: Path, study: ResultSet) -> pa.Table | None:
    """The predictions on reported rows, with the lengths that acc_norm divides by; None without the file."""
    if not path.exists():
        return None
    unused = set(UNITS.values()) - {
        UNITS[run.acc_norm_unit] for run in study.runs if run.acc_norm_unit in UNITS
    }
    columns = [name for name in PREDICTIONS.names if name not in unused]
    return read_table(path, PREDICTIONS, columns=columns, filters=[("split", "==", REPORTED_SPLIT)])
