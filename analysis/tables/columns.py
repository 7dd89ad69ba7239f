"""`Column`: a named column of a table, with the text of its values for people and their numbers for CSV.

A value that does not exist is None; it reads as a dash, and as an empty field of a CSV.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.stats.bootstrap import Interval
from analysis.stats.quantities import Quantity, Spread

DASH = "\u2014"
"""Stands for a number that does not exist; the reason is listed under the table."""
_MINUS = "\u2212"


@dataclass(frozen=True)
class Kind:
    """A kind of value: `text` shows it to people; `fields` are its numbers, one for each of `suffixes`.

    Words that `name` their row tell it from others. A text that `wraps` may take several lines of a cell.
    """

    text: Callable[[Any], str]
    fields: Callable[[Any], tuple[object, ...]] = lambda value: (value,)
    suffixes: tuple[str, ...] = ("",)
    is_word: bool = False
    names: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Column:
    """A named column of values of one kind."""

    name: str
    kind: Kind

    def text(self, value: object) -> str:
        """The value for people."""
        return DASH if value is None else self.kind.text(value)

    def header(self) -> tuple[str, ...]:
        """Names of its CSV columns, one per suffix of the kind."""
        return tuple(f"{self.name}{suffix}" for suffix in self.kind.suffixes)

    def fields(self, value: object) -> tuple[str, ...]:
        """The CSV fields of a value, in full precision."""
        numbers = (None,) * len(self.kind.suffixes) if value is None else self.kind.fields(value)
        return tuple("" if number is None else str(number) for number in numbers)


def format_number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return DASH if value is None else f"{value:.3f}".replace("-", _MINUS)


def format_spread(value: Spread) -> str:
    """`0.765 ± 0.003`; without std when there is one seed."""
    if value.mean is None:
        return DASH
    return f"{value.mean:.3f}" if value.std is None else f"{value.mean:.3f} \u00b1 {value.std:.3f}"


def format_percent(value: Quantity) -> str:
    """`97.7 %`, or a dash."""
    return DASH if value.value is None else f"{100 * value.value:.1f} %".replace("-", _MINUS)


def format_percent_range(value: Interval) -> str:
    """`92 to 104 %`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{100 * value.low:.0f} to {100 * value.high:.0f} %".replace("-", _MINUS)


def format_points(share: float) -> str:
    """A share in percentage points, with a second decimal where the first would round a sign away."""
    points = 100 * share
    if points == 0:
        return "0.0"
    text = f"{points:+.2f}" if 0 < abs(points) < 0.05 else f"{points:+.1f}"
    return text.replace("-", _MINUS)


def format_points_range(value: Interval) -> str:
    """`−1.2 to +0.4`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{format_points(value.low)} to {format_points(value.high)}"


def format_number_range(value: Interval) -> str:
    """`0.021 to 0.034`, or a dash where the interval is undefined."""
    if value.low is None or value.high is None:
        return DASH
    return f"{format_number(value.low)} to {format_number(value.high)}"


def format_amount(value: float) -> str:
    """Three significant digits below a thousand, whole above: `0.0123`, `12.3`, `1,234`."""
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _limits(value: Interval) -> tuple[object, ...]:
    return value.low, value.high


WORD = Kind(str, is_word=True, names=True)
VERDICT = Kind(str, is_word=True)
TEXT = Kind(str, is_word=True, wraps=True)
COUNT = Kind(lambda value: f"{value:,}")
NUMBER = Kind(format_number)
SPREAD = Kind(format_spread, lambda value: (value.mean, value.std, value.n), ("", " std", " n"))
PERCENT = Kind(format_percent, lambda value: (value.value,))
PERCENT_RANGE = Kind(format_percent_range, _limits, (" low", " high"))
POINTS = Kind(format_points)
POINTS_RANGE = Kind(format_points_range, _limits, (" low", " high"))
NUMBER_RANGE = Kind(format_number_range, _limits, (" low", " high"))
AMOUNT = Kind(format_amount)
SCIENTIFIC = Kind(lambda value: f"{value:.2e}")
SECONDS = Kind(lambda value: f"{value:,.1f}")
