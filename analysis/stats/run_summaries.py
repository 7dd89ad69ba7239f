"""`RunSummary`: one planned run: its scores, its settings, and the runs with the fewest other settings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from analysis.stats.aggregate import DEFAULT_RULE
from analysis.stats.epoch_selection import REPORTED_SPLIT, SelectionError, scores_at, select_epochs
from analysis.stats.result_table import ResultSet, Run, Score
from portal.run_details import RunDetail

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
