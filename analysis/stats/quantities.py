"""`Quantity` and `Spread`: numbers that may be undefined, with the reason; means and stds over seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum


@dataclass(frozen=True)
class Quantity:
    """A number, or null with the reason why it is undefined."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and sample std (ddof 1; null below two seeds) over `n` seeds; a null mean has a reason.

    `values` holds one value per seed.
    """

    mean: float | None
    std: float | None
    n: int
    reason: str | None = None
    values: tuple[float, ...] = ()

    @property
    def known(self) -> float:
        """The mean of a spread that has one."""
        assert self.mean is not None, self.reason
        return self.mean


def spread(values: Sequence[float], *, reason: str = "no finished run") -> Spread:
    """Mean and sample std of one value per seed, independent of their order."""
    if not values:
        return Spread(None, None, 0, reason)
    mean = fsum(values) / len(values)
    return Spread(
        mean, statistics.stdev(values) if len(values) > 1 else None, len(values), None, tuple(values)
    )
