"""`MetricBuffer`: what steps measured on the device, read by the host once in a while and all at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """One number of one learner's step: the loss of a task on a base, or a gradient's norm."""

    run: str
    step: int
    value: float
    what: str
    is_loss: bool

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.value)


class MetricBuffer:
    """Readings that are still on the device, in the order in which they were made."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, int, Sequence[str], bool]] = []
        self._values: list[Tensor] = []

    def add(self, run: str, step: int, names: Sequence[str], value_K: Tensor, *, is_loss: bool) -> None:
        """`value_K` of (K,) numbers and what each of them is."""
        self._entries.append((run, step, names, is_loss))
        self._values.append(value_K.detach())

    def read(self) -> list[Reading]:
        """All readings since the last time; waits for the device."""
        if not self._entries:
            return []
        values = iter(torch.cat(self._values).tolist())
        readings = [
            Reading(run, step, next(values), name, is_loss)
            for run, step, names, is_loss in self._entries
            for name in names
        ]
        self._entries, self._values = [], []
        return readings
