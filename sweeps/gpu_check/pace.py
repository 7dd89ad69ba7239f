"""`Speed`: what a step or an evaluation took beside what a plan predicts, and the pace that this makes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.gpu_check.finding import Finding


@dataclass(frozen=True)
class Speed:
    """Seconds as measured and as predicted, with the lines that they are worth."""

    measured_s: float
    predicted_s: float
    findings: tuple[Finding, ...]
    is_scoring: bool = False

    @property
    def pace(self) -> float:
        """How many times as long as predicted."""
        return self.measured_s / self.predicted_s


def pace_of(speeds: Sequence[Speed]) -> float | None:
    """The geometric mean of how many times as long as predicted they took; None of none."""
    if not speeds:
        return None
    return math.exp(math.fsum(math.log(each.pace) for each in speeds) / len(speeds))
