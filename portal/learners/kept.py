"""What a run keeps while it trains: its best evaluation on validation rows, and its losses."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from torch import Tensor

SELECTION_SPLIT, REPORTED_SPLIT = "validation", "test"
EVALUATED_SPLITS = (SELECTION_SPLIT, REPORTED_SPLIT)
COSTS = ("train_tokens", "train_flops", "wall_s")
"""Columns of the result rows that say what training had cost until an evaluation."""


class KeptEpochs:
    """The best evaluation so far, and copies of the tensors that the artifact would be made of.

    The highest mean score over the rows of the validation split wins, ties go to the lower log-loss, then
    to the earlier epoch; epoch 0, before any training, is no candidate. Tasks that are trained together are
    judged together, by their mean over tasks and bases; with `per_task` each is judged alone. Rows of tasks
    that the run is not trained on never vote. analysis/stats/aggregate.py makes the same choice from
    the tables.
    """

    def __init__(self, tasks: Sequence[str], *, per_task: bool) -> None:
        self._groups = [(task,) for task in tasks] if per_task else [tuple(tasks)]
        self._best: dict[str, _Best] = {}  # by the first task of a group
        self.tensors: dict[str, Tensor] = {}

    @property
    def epochs(self) -> dict[str, int]:
        """The kept epoch of every task that has one."""
        return {
            task: self._best[group[0]].epoch
            for group in self._groups
            if group[0] in self._best
            for task in group
        }

    def costs(self, task: str) -> dict[str, Any]:
        """What training had cost when the task's kept epoch was evaluated, by column of the result rows.

        A task that no group has was trained by the others: theirs are its.
        """
        own = next((group[0] for group in self._groups if task in group), self._groups[0][0])
        return dict(zip(COSTS, self._best[own].costs, strict=True))

    def better_tasks(self, epoch: int, rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """The tasks for which this evaluation is the best so far; its scores are remembered.

        `rows` are the result rows of one evaluation, of any splits.
        """
        judged = [row for row in rows if row["split"] == SELECTION_SPLIT]
        better: list[str] = []
        for group in self._groups:
            own = [row for row in judged if row["task"] in group]
            if epoch == 0 or {row["task"] for row in own} != set(group):
                continue
            accuracy = fsum(row["score"] for row in own) / len(own)
            log_loss = fsum(row["log_loss"] for row in own) / len(own)
            best = self._best.get(group[0])
            if best is None or (accuracy, -log_loss) > (best.accuracy, -best.log_loss):
                costs = tuple(own[0][column] for column in COSTS)
                self._best[group[0]] = _Best(epoch, accuracy, log_loss, costs)
                better.extend(group)
        return tuple(better)

    def state(self) -> dict[str, Any]:
        """The scores as a JSON value; `tensors` are saved beside it."""
        return {
            task: [best.epoch, best.accuracy, best.log_loss, *best.costs] for task, best in self._best.items()
        }

    def restore(self, state: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._best = {
            task: _Best(epoch, accuracy, log_loss, tuple(costs))
            for task, (epoch, accuracy, log_loss, *costs) in state.items()
        }
        self.tensors = tensors


@dataclass(frozen=True)
class _Best:
    """The best evaluation so far of tasks that are judged together, and what training had cost by then."""

    epoch: int
    accuracy: float
    log_loss: float
    costs: tuple[Any, ...]


MOST_POINTS = 256
"""A curve has fewer whole stretches than that: at so many, two neighbours become one."""


class LossCurve:
    """Losses of single steps, added in their order, as means over stretches of equally many steps.

    What it holds depends on the losses alone, not on when they were read.
    """

    def __init__(self, start: int = 0) -> None:
        self._start, self._stretch = start, 1
        self._means: list[float] = []
        self._sum, self._count = 0.0, 0  # of the stretch that has not ended

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "LossCurve":
        """The curve of which `state` was saved."""
        curve = cls(state["start"])
        curve._stretch = state["stretch"]
        curve._means, curve._sum, curve._count = list(state["means"]), state["sum"], state["count"]
        return curve

    def add(self, loss: float) -> None:
        """The loss of the next step."""
        self._sum, self._count = self._sum + loss, self._count + 1
        if self._count < self._stretch:
            return
        self._means.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._means) == MOST_POINTS:
            halves = zip(self._means[::2], self._means[1::2], strict=True)
            self._means = [(first + second) / 2 for first, second in halves]
            self._stretch *= 2

    @property
    def points(self) -> list[tuple[int, float]]:
        """(steps taken when the stretch ended, mean loss), the one that has not ended at last."""
        points = [
            (self._start + self._stretch * place, mean) for place, mean in enumerate(self._means, start=1)
        ]
        if self._count:
            last = self._start + self._stretch * len(self._means) + self._count
            points.append((last, self._sum / self._count))
        return points

    def state(self) -> dict[str, Any]:
        """A JSON value from which `restored` continues."""
        return {
            "start": self._start,
            "stretch": self._stretch,
            "means": list(self._means),
            "sum": self._sum,
            "count": self._count,
        }
