"""`Finding`: a line of a check: what was measured, and whether that is as it must be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from portal.messages import one_line

Level = Literal["PASS", "WARN", "FAIL", "SKIP"]
_Found = TypeVar("_Found")
PACE_BOUNDS = (0.7, 1.4)
"""Of a measured time over the predicted one: outside, plans for this machine are not to be relied on."""
LAST_START_S = 400.0
"""No line that only makes plans sharper begins after so many seconds of a check, which is to take eight
minutes at most. Numbers are always checked."""
ERRORS = (RuntimeError, ValueError, OSError, ArithmeticError, MemoryError, ImportError, LookupError)
"""What a check may end in and be a line that failed; any other error is this program's own."""


@dataclass(frozen=True)
class Finding:
    """`value` in its `unit`, held to `bound`; `note` says why a line was skipped, or what would help."""

    level: Level
    what: str
    value: float | None = None
    unit: str = ""
    bound: str = ""
    note: str = ""

    def __str__(self) -> str:
        measured = "" if self.value is None else f": {self.value:.3g}{self.unit and f' {self.unit}'}"
        bound = f" ({self.bound})" if self.bound else ""
        note = f"; {self.note}" if self.note else ""
        return f"{self.level}  {self.what}{measured}{bound}{note}"


def at_most(
    what: str, value: float, bound: float, *, unit: str = "", otherwise: Level = "FAIL", note: str = ""
) -> Finding:
    """PASS where the value is at most the bound, else `otherwise` with the note: so is what is no number."""
    holds = value <= bound
    level = "PASS" if holds else otherwise
    return Finding(level, what, value, unit, f"at most {bound:g}", "" if holds else note)


def graded(what: str, value: float, bound: float, most: float, *, unit: str = "") -> Finding:
    """PASS where the value is at most the bound, WARN up to `most`, else FAIL: so is what is no number."""
    return at_most(what, value, bound, unit=unit, otherwise="WARN" if value <= most else "FAIL")


def at_least(
    what: str, value: float, bound: float, *, unit: str = "", otherwise: Level = "FAIL", note: str = ""
) -> Finding:
    """PASS where the value is at least the bound, else `otherwise` with the note: so is what is no number."""
    holds = value >= bound
    level = "PASS" if holds else otherwise
    return Finding(level, what, value, unit, f"at least {bound:g}", "" if holds else note)


def between(
    what: str,
    value: float,
    low: float,
    high: float,
    *,
    unit: str = "",
    otherwise: Level = "FAIL",
    note: str = "",
) -> Finding:
    """PASS where the value is within the bounds, else `otherwise` with the note: so is what is no number."""
    holds = low <= value <= high
    level = "PASS" if holds else otherwise
    return Finding(level, what, value, unit, f"{low:g} to {high:g}", "" if holds else note)


def over_forecast(what: str, ratio: float) -> Finding:
    """A measured time over what a plan predicts for it, which warns where it is off."""
    note = "plans for this machine are off by that"
    return between(f"{what} over the forecast", ratio, *PACE_BOUNDS, otherwise="WARN", note=note)


def failed(error: Exception) -> Finding:
    """The line of a check that ended in an error."""
    return Finding("FAIL", "the check ended in an error", note=one_line(error, most=300))


def until_error(found: Iterable[_Found]) -> Iterator[_Found | Finding]:
    """What a check finds, its last line the error that it ends in, if it does."""
    try:
        yield from found
    except ERRORS as error:
        yield failed(error)


def left_out(what: str) -> Finding:
    """A line that there was no time for."""
    return Finding("WARN", what, note=f"left out, because {LAST_START_S:g} s had passed")


def skipped(what: str, why: str) -> Finding:
    """A line that has no meaning on this machine."""
    return Finding("SKIP", what, note=why)
