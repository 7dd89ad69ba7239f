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
    return _judged(what, value, f"at most {bound:g}", unit, otherwise, note, holds=value <= bound)


def at_least(
    what: str, value: float, bound: float, *, unit: str = "", otherwise: Level = "FAIL", note: str = ""
) -> Finding:
    """PASS where the value is at least the bound, else `otherwise` with the note: so is what is no number."""
    return _judged(what, value, f"at least {bound:g}", unit, otherwise, note, holds=value >= bound)


def skipped(what: str, why: str) -> Finding:
    """A line that has no meaning on this machine."""
    return Finding("SKIP", what, note=why)


def _judged(
    what: str, value: float, bound: str, unit: str, otherwise: Level, note: str, *, holds: bool
) -> Finding:
    return Finding("PASS" if holds else otherwise, what, value, unit, bound, "" if holds else note)
