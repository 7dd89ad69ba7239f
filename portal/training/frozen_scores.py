"""`FrozenScores`: what frozen bases score and write, which packs of a process share."""

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import nn

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.token_rows import RowTable
from portal.evaluate.loglikelihood import PendingScores
from portal.evaluate.written import Judged


@dataclass(frozen=True)
class RowSet:
    """Rows of a task and split on one base, at most `size`."""

    base: str
    task: str
    split: str
    size: int


@dataclass(frozen=True)
class Kept:
    """Of one base on one table of rows: scores, and answers that were written, by how they were judged."""

    scores: dict[RowSet, PendingScores] = field(default_factory=dict)
    answers: dict[tuple[RowSet, AnswerConfig], list[Judged]] = field(default_factory=dict)


class FrozenScores:
    """By base and rows, kept as long as both are in memory. A base's weights never change."""

    def __init__(self) -> None:
        self._kept: MutableMapping[nn.Module, MutableMapping[RowTable, Kept]] = WeakKeyDictionary()

    def of(self, base: Base, rows: RowTable) -> Kept:
        """What is kept of this base on these rows; whoever computes more adds it there."""
        by_rows = self._kept.setdefault(base.model, WeakKeyDictionary())
        return by_rows.setdefault(rows, Kept())
