"""`Query`: conditions on the scores of a study, and the mean scores of those that meet them.

A score is that of one run, base, task, epoch and split. Without a condition on `split` test rows count, and
without one on `epoch` the epoch that the report leads with (docs/reports.md, "What the numbers are").
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import fsum, isfinite
from typing import NamedTuple

from analysis.stats.aggregate import DEFAULT_RULE
from analysis.stats.epoch_selection import REPORTED_SPLIT, SelectionError, select_epochs
from analysis.stats.result_table import ResultSet, Run, cell_order
from portal.messages import nearest
from portal.results import NO_KIND

WORDS = ("method", "base", "task", "kind", "split", "modules", "run")
"""Columns of words; `method` is a method or what the study calls it."""
NUMBERS = ("size", "seed", "epoch", "rank", "score", "log_loss")
COLUMNS = (*WORDS, *NUMBERS, "trained_on")
"""All that a condition may name; `trained_on` says whether the run was trained on rows of the task."""
GROUPS = (*WORDS, "size", "seed", "epoch", "rank", "trained_on")
"""Columns that scores can be gathered by."""
BY = (*WORDS[:2], "size")
_NONE = "none"
_MOST_LISTED = 40
_AROUND = re.compile(r"\s*(<=|>=|!=|=|<|>)\s*")
_CONDITION = re.compile(r"([a-z_]+)\s*(<=|>=|!=|=|<|>)\s*(.+)")
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


class ScoredTask(NamedTuple):
    """The score of a run on a task at an epoch, by the names of COLUMNS; `label`: what the study calls it."""

    label: str
    method: str
    base: str
    task: str
    kind: str
    split: str
    modules: str | None
    run: str
    size: int | None
    seed: int | None
    epoch: int
    rank: int | None
    score: float
    log_loss: float
    trained_on: str | None


@dataclass(frozen=True)
class Condition:
    """`COLUMN OPERATOR VALUE`. Words may have `*` and `?`; `=` and `!=` take several values, with commas."""

    column: str
    operator: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """ValueError for an unknown column, an operator that it lacks, or a value that is no number."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no condition: COLUMN=VALUE, or with !=, <, <=, > or >=")
        column, operator, value = found.groups()
        if column not in COLUMNS:
            raise ValueError(f"condition {text!r}: unknown column {column!r}{nearest(column, COLUMNS)}")
        is_order = operator in _ORDERS
        if is_order and column not in NUMBERS:
            raise ValueError(f"condition {text!r}: {column} has = and != only")
        is_single = is_order or column == "modules"  # whose values have commas
        values = (value,) if is_single else tuple(part.strip() for part in value.split(","))
        if column in NUMBERS:
            for each in values:
                if not _is_number(each) and (is_order or each != _NONE):
                    raise ValueError(f"condition {text!r}: {each!r} is no number")
        return cls(column, operator, values)

    def is_met(self, scored: ScoredTask) -> bool:
        """Whether the score has the value; one that has none meets `=none` and no order."""
        value = getattr(scored, self.column)
        if self.operator in _ORDERS:
            return value is not None and _ORDERS[self.operator](value, float(self.values[0]))
        names = (scored.label, scored.method) if self.column == "method" else (value,)
        is_equal = any(_is_equal(name, each) for name in names for each in self.values)
        return is_equal == (self.operator == "=")


@dataclass(frozen=True)
class Answer:
    """The mean of a group of scores: over each run's tasks in it, then over runs; `group`: see `Query.by`."""

    group: tuple[object, ...]
    score: float
    log_loss: float
    tasks: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """The groups that a query asks for. `left_out` says by run why no epoch of it can be chosen."""

    groups: tuple[Answer, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """Conditions, all of which a score has to meet, and the columns by which scores are gathered."""

    conditions: tuple[Condition, ...]
    by: tuple[str, ...] = BY

    @classmethod
    def parse(cls, text: str, by: Sequence[str] = BY) -> "Query":
        """Conditions with spaces between them, `method=portal size<=16`; ValueError for what is none.

        Scores of several epochs or splits are never one mean: `by` has these where a condition names them.
        """
        for column in by:
            if column not in GROUPS:
                raise ValueError(f"unknown column {column!r} to gather by{nearest(column, GROUPS)}")
        try:
            words = shlex.split(_AROUND.sub(r"\1", text))
        except ValueError:
            raise ValueError(f"query {text!r}: a quotation mark has no second one") from None
        conditions = tuple(map(Condition.parse, words))
        named = {condition.column for condition in conditions}
        return cls(
            conditions, (*by, *(name for name in ("split", "epoch") if name in named and name not in by))
        )

    def answer(self, study: ResultSet) -> Answers:
        """A mean per group, methods in their order; ValueError for a word that no score has."""
        splits, left_out = "split" in self.by, dict[str, str]()
        there, every = list[ScoredTask](), list[ScoredTask]()
        for run in sorted(study.runs, key=lambda run: (cell_order(run.cell), run.seed or 0, run.key)):
            scores = list(_scores(run, study))
            there += scores
            try:
                chosen = None if "epoch" in self.by else select_epochs(run, DEFAULT_RULE)
            except SelectionError as error:
                left_out[run.key] = str(error)
                continue
            every += [
                scored
                for scored in scores
                if (splits or scored.split == REPORTED_SPLIT)
                and (chosen is None or chosen.get(scored.task) == scored.epoch)
            ]
        for condition in self.conditions:
            _check_words(condition, there)
        groups: dict[tuple[object, ...], list[ScoredTask]] = {}
        for scored in every:
            if all(condition.is_met(scored) for condition in self.conditions):
                groups.setdefault(self._group(scored), []).append(scored)
        return Answers(tuple(_mean(group, scores) for group, scores in groups.items()), left_out)

    def _group(self, scored: ScoredTask) -> tuple[object, ...]:
        return tuple(scored.label if name == "method" else getattr(scored, name) for name in self.by)


def _scores(run: Run, study: ResultSet) -> Iterator[ScoredTask]:
    """All scores of a run."""
    cell, variant = run.cell, run.cell.variant
    for split, epochs in run.scores.items():
        for epoch, tasks in sorted(epochs.items()):
            for task, score in sorted(tasks.items()):
                trained_on = "no" if task in run.without_rows else "yes" if task in run.train_rows else None
                yield ScoredTask(
                    variant.name, cell.method, cell.base, task, study.kinds.get(task, NO_KIND), split,
                    variant.modules, run.key, cell.size, run.seed, epoch, variant.rank,
                    score.score, score.log_loss, trained_on,
                )  # fmt: skip


def _mean(group: tuple[object, ...], scores: Sequence[ScoredTask]) -> Answer:
    by_run: dict[str, list[ScoredTask]] = {}
    for scored in scores:
        by_run.setdefault(scored.run, []).append(scored)

    def mean(values: Sequence[float]) -> float:
        return fsum(values) / len(values)

    return Answer(
        group,
        mean([mean([each.score for each in own]) for own in by_run.values()]),
        mean([mean([each.log_loss for each in own]) for own in by_run.values()]),
        len({scored.task for scored in scores}),
        tuple(by_run),
    )


def _check_words(condition: Condition, scores: Sequence[ScoredTask]) -> None:
    """ValueError for a word that none of the scores has, with the nearest that one has."""
    if condition.column in NUMBERS:
        return
    known = {name for each in scores if (name := getattr(each, condition.column)) is not None}
    if condition.column == "method":
        known |= {each.label for each in scores}
    for value in condition.values:
        if value != _NONE and not any(_is_equal(name, value) for name in known):
            told = nearest(value, known) if len(known) <= _MOST_LISTED else ""
            raise ValueError(f"no score has {condition.column} {value!r}{told}")


def _is_equal(value: object, text: str) -> bool:
    """Whether a score's value is the one that a condition names."""
    if value is None or text == _NONE:
        return value is None and text == _NONE
    return fnmatchcase(value, text) if isinstance(value, str) else value == float(text)


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
