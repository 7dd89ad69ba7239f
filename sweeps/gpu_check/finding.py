"""`Finding`: a line of a check: what was measured, and whether that is as it must be."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from portal.messages import one_line

Level = Literal["PASS", "WARN", "FAIL", "SKIP"]
_Found = TypeVar("_Found")
NEEDS_BF16 = "needs AVX512-BF16 or AMX-BF16, which this CPU lacks"
"""Why a line on bases in bf16 is skipped on a CPU."""
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


def bounded(
    what: str,
    value: float,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    unit: str = "",
    otherwise: Level = "FAIL",
    note: str = "",
) -> Finding:
    """PASS where the value is within the bounds, else `otherwise` with the note: so is what is no number."""
    level: Level = "PASS" if least <= value <= most else otherwise
    bound = f"{least:g} to {most:g}"
    if math.inf in (-least, most):
        bound = f"at most {most:g}" if most < math.inf else f"at least {least:g}"
    return Finding(level, what, value, unit, bound, note if level != "PASS" else "")


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
