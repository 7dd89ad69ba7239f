"""`Comparison`: one line of the table, ours against a peer."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.measure import Ratio


@dataclass(frozen=True)
class Comparison:
    """`target` is what theirs / ours should be at least, or with sense `cost` ours / theirs at most."""

    what: str
    against: str
    target: float | None
    ratio: Ratio
    sense: Literal["speed", "cost"] = "speed"
    note: str = ""

    @property
    def value(self) -> float:
        return self.ratio.value if self.sense == "speed" else 1 / self.ratio.value

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.sense == "speed" else self.value <= self.target

    def cells(self) -> tuple[str, ...]:
        """what, against, target, ours, theirs, ratio with its range, turns."""
        bound = {"speed": "at least", "cost": "at most"}[self.sense]
        target = "" if self.target is None else f"{bound} {self.target:g}x"
        low, high = self.ratio.low, self.ratio.high
        if self.sense == "cost":
            low, high = 1 / high, 1 / low
        met = {True: "", False: " (not met)", None: ""}[self.is_met]
        return (
            self.what,
            self.against,
            target,
            seconds(self.ratio.ours_s),
            seconds(self.ratio.theirs_s),
            f"{self.value:.2f}x ({low:.2f}-{high:.2f}){met}",
            str(self.ratio.repeats),
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Comparison":
        return Comparison(**{**value, "ratio": Ratio(**value["ratio"])})


HEADERS = ("what", "against", "target", "ours", "theirs", "ratio (range)", "turns")


def seconds(value: float) -> str:
    """For people: `31 ms`, `2.41 s`, `84 s`."""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
