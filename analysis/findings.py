"""`Findings`: everything a report says about a study, computed once from its result folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis.aggregate import DEFAULT_RULE, Comparison, Summary, compare, summarise_sources
from analysis.curves import METRICS, CurveSet, build_curves
from analysis.intervals import Bootstrap, bootstrap_cells, count_seeds, describe_all
from analysis.runs import Study, load_study
from analysis.selection import RULES
from analysis.study_info import StudyInfo
from analysis.tables import lift_interval
from portal.results import PREDICTIONS, read_table

RESULTS_FILE = "results.parquet"
PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True)
class Target:
    """A target base: comparisons by selection rule, a bootstrap if predictions exist, curves by metric."""

    base: str
    rules: Mapping[str, Comparison]
    bootstrap: Bootstrap | None
    curves: Mapping[str, CurveSet]

    @property
    def comparison(self) -> Comparison:
        """The one the report leads with."""
        return self.rules[DEFAULT_RULE]

    @property
    def sentences(self) -> tuple[str, ...]:
        """Plain sentences on which methods can be told apart."""
        return () if self.bootstrap is None else tuple(describe_all(self.comparison, self.bootstrap))

    def headline(self) -> str:
        """One sentence: the lift that the port recovers, with interval and seeds, or why there is none."""
        port, ceiling = self.comparison.find("portal"), self.comparison.ceiling
        if port is None:
            return f"{self.base}: no port on this base has results."
        if port.lift.value is None:
            return f"{self.base}: recovered lift is undefined ({port.lift.reason})."
        interval = lift_interval(port, self.comparison, self.bootstrap)
        within = f", 95 % interval {interval}" if "to" in interval else ""
        floor = self.comparison.floor
        assert floor is not None
        assert ceiling is not None
        return (
            f"On {self.base}, {self.comparison.name(port)} recovers {100 * port.lift.value:.1f} % of the "
            f"per-task LoRA's lift ({count_seeds(port.acc.n)}{within}): accuracy {floor.acc.mean:.3f} "
            f"frozen, {port.acc.mean:.3f} ported, {ceiling.acc.mean:.3f} with a LoRA for each task."
        )


@dataclass(frozen=True)
class Findings:
    """A study's targets, ports first, its source runs and what the caller told about it."""

    study: Study
    targets: tuple[Target, ...]
    sources: tuple[Summary, ...]
    info: StudyInfo
    has_predictions: bool


def find(results: Path, info: StudyInfo) -> Findings:
    """The findings in the folder `results`. Without predictions there are no intervals.

    Raises ValueError when the result table is missing, unreadable, empty or mixes evaluation sets.
    """
    study = load_study(results / RESULTS_FILE)
    if not study.runs:
        raise ValueError(f"{results / RESULTS_FILE}: no finished run yet, nothing to report")
    predictions_path = results / PREDICTIONS_FILE
    predictions = read_table(predictions_path, PREDICTIONS) if predictions_path.exists() else None
    targets = []
    for base in study.targets:
        rules = {rule: compare(study, base, rule) for rule in RULES}
        cells = [line.cell for line in rules[DEFAULT_RULE].main if line.acc.mean is not None]
        bootstrap = None
        if predictions is not None and cells:
            bootstrap = bootstrap_cells(study, predictions, cells, rule=DEFAULT_RULE)
        curves = {metric: build_curves(rules["final"], metric) for metric in METRICS}
        drawn = {metric: curve for metric, curve in curves.items() if curve is not None}
        targets.append(Target(base, rules, bootstrap, drawn))
    return Findings(study, tuple(targets), summarise_sources(study), info, predictions is not None)
