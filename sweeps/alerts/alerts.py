"""`Alerts`: whom a launch tells what people should know, and what it should cost at most."""

import math
from dataclasses import dataclass

from sweeps.alerts.courier import check_target


@dataclass(frozen=True)
class Budget:
    """The most that a launch should cost, at a price of a device-hour; what it holds costs, used or not.

    ValueError for numbers that are not above 0.
    """

    limit: float
    price: float

    def __post_init__(self) -> None:
        if not (0 < self.limit < math.inf and 0 < self.price < math.inf):
            raise ValueError(f"budget {self.limit:g} and price {self.price:g} are to be numbers above 0")


@dataclass(frozen=True)
class Alerts:
    """Where alerts of a launch go, URLs and commands of the shell, and what it should cost at most.

    ValueError for a target that nothing can be sent to, and for a budget without a target.
    """

    targets: tuple[str, ...] = ()
    budget: Budget | None = None

    def __post_init__(self) -> None:
        for target in self.targets:
            check_target(target)
        if self.budget is not None and not self.targets:
            raise ValueError("a budget without --alert is told to nobody")
