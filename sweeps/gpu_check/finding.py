"""`Finding`: a line of a check: what was measured, and whether that is as it must be."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["PASS", "WARN", "FAIL", "SKIP"]


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


def skipped(what: str, why: str) -> Finding:
    """A line that has no meaning on this machine."""
    return Finding("SKIP", what, note=why)
