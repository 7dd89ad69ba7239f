"""A study's variants as a grid: which of their settings the scores of a method's runs depend on."""

import json
from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

from analysis.stats.aggregate import DEFAULT_RULE, SELECTION_SPLIT, SelectionError, scores_at, select_epochs
from analysis.stats.findings import by_label, flat_settings, shown_value
from analysis.stats.result_table import ResultSet, Run, Score
from portal.results import RunDetail
from portal.search_record import MIN_TRIALS, Importance, SearchRecord, SearchTrial

_WIDE = 4
"""From the least to the greatest of values that people step through by factors."""
_SEED, _CALIBRATED = "seed", "calibrated"
_PLAIN = frozenset({"size", _SEED})
"""What any study varies; curves and the spread over seeds show it."""
_ORIGINS = frozenset({"source", "latents", "source_bases"})
"""What a run starts from, by the labels of other runs."""
_FOLLOWERS = frozenset({"descriptions", "files", "answers", "data_hash", "adapter.alpha"})
"""Settings that change because another one does; they do not name what changes together."""
_NOT_SETTINGS = frozenset({"method", "version"})


def find_grids(study: ResultSet, base: str, details: Mapping[str, RunDetail]) -> tuple[SearchRecord, ...]:
    """A record for each method whose runs on the base differ in more than _PLAIN and _ORIGINS.

    Two settings must differ: of a single one there is nothing to share. Scores are means over the tasks that
    all of the runs have, on validation rows at the reported epoch: who chooses a setting by them has seen no
    test row. Runs without such rows are trials that failed; with fewer others than MIN_TRIALS, or with no
    task in common, a method has no record.
    """
    by_method: dict[str, list[Run]] = {}
    for run in study.runs:
        if run.cell.base == base and run.key in details:
            by_method.setdefault(run.cell.method, []).append(run)
    labels = {key: detail.label for key, detail in details.items()}
    grids = []
    for runs in by_method.values():
        settings = _merged([_named(details[run.key].settings, labels) for run in runs])
        if len(settings[0]) < 2 or not settings[0].keys() - _PLAIN - _ORIGINS:
            continue
        values = _values(runs)
        if sum(value is not None for value in values) >= MIN_TRIALS:
            grids.append(_record(runs, settings, values, study.score_name))
    return tuple(grids)


def _record(
    runs: Sequence[Run], settings: Sequence[Mapping[str, Any]], values: Sequence[float | None], metric: str
) -> SearchRecord:
    from portal.importance import ImportanceError, importance_of_grid  # Optuna takes long to import

    scored = [(own, value) for own, value in zip(settings, values, strict=True) if value is not None]
    importance, unknown = dict[str, Importance](), None
    try:
        importance = importance_of_grid([own for own, _ in scored], [value for _, value in scored])
    except ImportanceError as error:
        unknown = str(error)
    trials = [
        SearchTrial(
            number=number,
            state="fail" if value is None else "complete",
            value=value,
            epoch=None,
            settings=dict(own),
        )
        for number, (own, value) in enumerate(zip(settings, values, strict=True))
    ]
    cell = runs[0].cell
    return SearchRecord(
        name=f"{cell.variant.spec.label} on {cell.base}",
        method=cell.method,
        metric=metric,
        direction="maximize",
        trials=tuple(sorted(trials, key=lambda trial: -1.0 if trial.value is None else trial.value)[::-1]),
        logarithmic=tuple(name for name in settings[0] if _is_geometric(name, settings)),
        importance=importance,
        unknown=unknown,
        unit="run",
    )


def _is_geometric(name: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a setting's values are positive numbers that span a factor of _WIDE; seeds are only names."""
    column = [own[name] for own in settings]
    numbers = [value for value in column if isinstance(value, int | float)]
    is_wide = len(numbers) == len(column) and min(numbers) > 0 and max(numbers) >= _WIDE * min(numbers)
    return is_wide and name != _SEED


def _values(runs: Sequence[Run]) -> list[float | None]:
    """The mean validation score of each run over the tasks that all have; None of one without such rows."""
    scores = [_validation_scores(run) for run in runs]
    shared = set.intersection(*({*own} for own in scores if own)) if any(scores) else set()
    return [_mean([own[task] for task in sorted(shared)]) if own and shared else None for own in scores]


def _validation_scores(run: Run) -> dict[str, Score]:
    """By task, at the reported epochs; empty where there are none, or no epoch can be chosen."""
    try:
        return scores_at(run, select_epochs(run, DEFAULT_RULE), SELECTION_SPLIT)
    except SelectionError:
        return {}


def _mean(scores: Sequence[Score]) -> float:
    return fsum(each.score for each in scores) / len(scores)


def _named(settings: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The settings by the names that a study file has for them; runs that this one starts from by label.

    Tasks that a seed draws are told by their number, and bases without their revisions.
    """
    flat = {name.removeprefix("data."): value for name, value in flat_settings(settings).items()}
    found = {name: by_label(value, labels) for name, value in flat.items() if name not in _NOT_SETTINGS}
    found["bases"] = [f"{base['name']} {base.get('precision', '')}".strip() for base in settings["bases"]]
    if _CALIBRATED in found:
        found[_CALIBRATED] = len(found[_CALIBRATED])
    return found


def _merged(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each point the settings in which points differ; one of those that always change together.

    Rows and seed stay apart from others.
    """
    names = dict.fromkeys(name for own in settings for name in own)
    columns: dict[tuple[str, tuple[int, ...]], tuple[str, list[Any]]] = {}
    for name in sorted(names, key=lambda name: (name not in _PLAIN, name in _ORIGINS, name in _FOLLOWERS)):
        column = [own.get(name) for own in settings]
        levels = _levels(column)
        if len(set(levels)) > 1:
            columns.setdefault((name if name in _PLAIN else "", levels), (name, column))
    told = dict(_told(name, column) for name, column in columns.values())
    return [{name: column[place] for name, column in told.items()} for place in range(len(settings))]


def _levels(column: Sequence[Any]) -> tuple[int, ...]:
    """The values as numbers from 0 on, in the order in which they come; equal ones are equal in full."""
    full = [json.dumps(value, sort_keys=True) for value in column]
    places = {text: place for place, text in enumerate(dict.fromkeys(full))}
    return tuple(places[text] for text in full)


def _told(name: str, column: Sequence[Any]) -> tuple[str, list[Any]]:
    """A setting and its values as numbers where they are, as texts else; lists of unlike length by that."""
    levels = _levels(column)
    if all(isinstance(value, list) for value in column):
        lengths = [len(value) for value in column]
        if len(set(lengths)) == len(set(levels)):
            return f"{name} (number)", lengths
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in column):
        return name, [*column]
    texts = [shown_value(value) for value in column]
    if len(set(texts)) < len(set(levels)):  # short texts of unlike values are alike
        texts = [f"{text} ({level + 1})" for text, level in zip(texts, levels, strict=True)]
    return name, texts
