"""`LossCurve`: the mean training loss over stretches of steps, of as few numbers as a figure shows."""

from collections.abc import Mapping
from typing import Any

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
    def restored(cls, state: Mapping[str, Any] | None, step: int) -> "LossCurve":
        """A saved curve, to go on at this step; None, of a version that saved none, begins one there."""
        curve = cls(step)
        if state is not None:
            curve._start, curve._stretch = state["start"], state["stretch"]
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
