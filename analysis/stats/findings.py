"""`Findings`: all numbers of a study's report; `Pair`: a cell of two studies; `RunSummary`: a planned run."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.stats.aggregate import (
    DEFAULT_RULE,
    KEPT,
    REPORTED_SPLIT,
    RULES,
    Comparison,
    MethodSummary,
    SelectionError,
    compare,
    scores_at,
    select_epochs,
    summarise_sources,
)
from analysis.stats.bootstrap import (
    ACCURACY,
    LOG_LOSS,
    Bootstrap,
    Interval,
    bootstrap_accuracy,
    bootstrap_cells,
    choose_runs,
)
from analysis.stats.calibration import Calibration, calibrate
from analysis.stats.contrasts import Contrast, Lead, find_contrasts, find_leads
from analysis.stats.curves import (
    METRICS,
    CurveSet,
    Savings,
    SizedLoss,
    build_curves,
    find_losses,
    find_savings,
)
from analysis.stats.latents import LatentMap, load_latent_maps
from analysis.stats.new_tasks import NewTasks, find_new_tasks
from analysis.stats.result_table import Cell, ResultSet, Run, Score, cell_order, load_results
from analysis.stats.task_split import SplitBootstrap, TaskSplit, bootstrap_splits, split_tasks
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
    Question,
    RunDetail,
    StudyInfo,
    read_questions,
    read_run_details,
    read_study_info,
    read_table,
)
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


@dataclass(frozen=True)
class Pair:
    """One cell in two studies; a summary is None where a study has no result.

    The difference is second minus first, over the seeds that both have; null, with a reason, where it would
    compare unlike tasks or no seed is shared.
    """

    cell: Cell
    summaries: tuple[MethodSummary | None, MethodSummary | None]
    difference: Interval
    num_seeds: int

    @property
    def name(self) -> str:
        """`PorTAL q,v r8, 64 rows`."""
        size = "" if self.cell.size is None else f", {self.cell.size} rows"
        return f"{self.cell.variant.full_name}{size}"

    @property
    def is_in_both(self) -> bool:
        return all(_is_scored(summary) for summary in self.summaries)


def find_pairs(findings: tuple[Findings, Findings], base: str) -> list[Pair]:
    """Every cell on `base` that is a headline summary of either study."""
    comparisons = [comparison_on(each, base) for each in findings]
    headlines = {summary.cell for each in comparisons for summary in each.headline_summaries}
    cells = sorted(headlines, key=cell_order)
    summaries = {cell: (_find(comparisons[0], cell), _find(comparisons[1], cell)) for cell in cells}
    both = [cell for cell, pair in summaries.items() if all(map(_is_scored, pair))]
    bootstrap = _join([each.bootstrap(both) for each in findings])
    return [_pair(cell, summaries[cell], bootstrap) for cell in cells]


def comparison_on(findings: Findings, base: str) -> Comparison:
    """The comparison that a study's report leads with on one of its bases."""
    return next(target.comparison for target in findings.targets if target.base == base)


def _find(comparison: Comparison, cell: Cell) -> MethodSummary | None:
    return next((summary for summary in comparison.summaries if summary.cell == cell), None)


def _is_scored(summary: MethodSummary | None) -> bool:
    return summary is not None and summary.acc.mean is not None


def _pair(
    cell: Cell, summaries: tuple[MethodSummary | None, MethodSummary | None], bootstrap: Bootstrap | None
) -> Pair:
    """The pair with its difference, or with the reason why there is none."""
    first, second = summaries
    tagged = _tag(cell, 0), _tag(cell, 1)
    if first is None or second is None or not _is_scored(first) or not _is_scored(second):
        return Pair(cell, summaries, _undefined("no result in one of the studies"), 0)
    if first.tasks != second.tasks:
        return Pair(cell, summaries, _undefined("the studies have other tasks"), 0)
    if bootstrap is None or any(tag not in bootstrap.members for tag in tagged):
        return Pair(cell, summaries, _undefined("predictions are missing"), 0)
    if not bootstrap.can_compare(*tagged):
        return Pair(cell, summaries, _undefined("the studies share no seed"), 0)
    seeds = len(bootstrap.shared_seeds(*tagged))
    return Pair(cell, summaries, bootstrap.difference(tagged[1], tagged[0]), seeds)


def _undefined(reason: str) -> Interval:
    return Interval(None, None, None, reason=reason)


def _join(both: Sequence[Bootstrap | None]) -> Bootstrap | None:
    """One bootstrap of both studies; their draws are paired: a cluster's depends on seed and name alone."""
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
    """The cell as one of the first or of the second study."""
    return cell._replace(variant=cell.variant._replace(name=f"{cell.variant.name} #{place}"))


_MOST_LISTED = 8
"""A list of more values is told by their number."""
_NOT_SHOWN = "it was scored on other tasks than the study's own, or another run fills its place in the tables"
_BY_TASK = ("descriptions", "files", "answers")


@dataclass(frozen=True)
class RunSummary:
    """A run by base, and the reported epoch of every task (docs/reports.md, "What the numbers are").

    `score` and `log_loss` are means over the tasks of a base, then over bases; None with the `reason`.
    """

    detail: RunDetail
    runs: tuple[Run, ...] = ()
    epochs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by base
    score: float | None = None
    log_loss: float | None = None
    reason: str | None = None

    @property
    def key(self) -> str:
        return self.detail.run

    def scores(self, run: Run) -> dict[str, Score]:
        """By task, the run's scores on test rows at the reported epochs."""
        return scores_at(run, self.epochs[run.cell.base], REPORTED_SPLIT)


@dataclass(frozen=True)
class Neighbour:
    """Another run, and each setting in which it differs: (name, own value, the other's value)."""

    summary: RunSummary
    differences: tuple[tuple[str, str, str], ...]


def summarise_runs(study: ResultSet, details: Mapping[str, RunDetail]) -> tuple[RunSummary, ...]:
    """Every planned run, in the study's order."""
    by_key: dict[str, list[Run]] = {}
    for run in study.runs:
        by_key.setdefault(run.key, []).append(run)
    return tuple(_summarise(detail, by_key.get(key, [])) for key, detail in details.items())


def _summarise(detail: RunDetail, runs: Sequence[Run]) -> RunSummary:
    if not runs:
        return RunSummary(detail, reason=_NOT_SHOWN if detail.state == "done" else detail.cause)
    try:
        epochs = {run.cell.base: select_epochs(run, DEFAULT_RULE) for run in runs}
    except SelectionError as error:
        return RunSummary(detail, tuple(runs), reason=str(error))
    scores = [[*scores_at(run, epochs[run.cell.base], REPORTED_SPLIT).values()] for run in runs]
    return RunSummary(
        detail,
        tuple(runs),
        epochs,
        score=_mean(_mean(each.score for each in own) for own in scores),
        log_loss=_mean(_mean(each.log_loss for each in own) for own in scores),
    )


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fsum(listed) / len(listed)


def shown_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings by their path, `train.lr`, as short texts; without those that are not set."""
    return {name: shown_value(value) for name, value in flat_settings(settings).items()}


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are set by their path, `train.lr`. What is by task is one value."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and name not in _BY_TASK:
            found |= {f"{name}.{below}": each for below, each in flat_settings(value).items()}
        elif value not in (None, {}, []):
            found[name] = value
    return found


def shown_value(value: Any) -> str:
    """A setting as a short text."""
    if value is None:
        return "none"
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return ", ".join(" ".join(str(part) for part in each.values()) for each in value)  # bases
    if isinstance(value, list | dict) and len(value) > _MOST_LISTED:
        return f"{len(value)} ({', '.join(map(str, list(value)[:2]))}, ...)"
    if isinstance(value, list | dict):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def by_label(value: Any, labels: Mapping[str, str]) -> Any:
    """The label of the run that the value is the key of; every other value as it is."""
    return labels.get(value, value) if isinstance(value, str) else value


class Neighbourhood:
    """All runs of a study by their settings. What they start from is a setting: its label in the study."""

    def __init__(self, summaries: Sequence[RunSummary]) -> None:
        self._summaries = summaries
        self._labels = {each.key: each.detail.label for each in summaries}
        self._settings = {each.key: flat_settings(each.detail.settings) for each in summaries}
        self._items = {
            key: frozenset((name, self._full(value)) for name, value in own.items())
            for key, own in self._settings.items()
        }

    def of(self, summary: RunSummary, most: int) -> list[Neighbour]:
        """Runs of the same method that are done, those with the fewest other settings first."""
        method, own = summary.detail.settings["method"], self._items[summary.key]
        others = [
            (
                len({name for name, _ in own ^ self._items[each.key]}),
                each.detail.label != summary.detail.label,
                place,
                each,
            )
            for place, each in enumerate(self._summaries)
            if each is not summary and each.score is not None and each.detail.settings["method"] == method
        ]
        nearest = sorted(others, key=lambda item: item[:3])[:most]
        return [Neighbour(each, self._differences(summary.key, each.key)) for *_, each in nearest]

    def _differences(self, key: str, other: str) -> tuple[tuple[str, str, str], ...]:
        names = {name for name, _ in self._items[key] ^ self._items[other]}
        own, theirs = self._settings[key], self._settings[other]
        return tuple(
            (name, self._told(own.get(name)), self._told(theirs.get(name)))
            for name in dict.fromkeys([*own, *theirs])
            if name in names
        )

    def _full(self, value: Any) -> str:
        return json.dumps(by_label(value, self._labels), sort_keys=True)

    def _told(self, value: Any) -> str:
        return shown_value(by_label(value, self._labels))
