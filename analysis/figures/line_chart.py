"""`LineChart`: lines over steps or epochs, written as SVG at once: a report has pages of many runs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from analysis.figures.style import GRID, INK, MUTED, SERIES
from analysis.figures.svg import colour_variable

_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 40
_MOST_TICKS, _MOST_TIPS = 5, 60


@dataclass(frozen=True)
class Line:
    """A named line through (x, y) points, by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class LineChart:
    """Lines with one x and one y axis. `alt` is the text alternative."""

    lines: tuple[Line, ...]
    x_label: str
    y_label: str
    caption: str
    alt: str

    def to_svg(self) -> str:
        """An `<svg>` element in the page's colours; points show their values, of long lines some."""
        points = [point for line in self.lines for point in line.points]
        x_ticks, y_ticks = _ticks([x for x, _ in points]), _ticks([y for _, y in points], around=True)
        (x_low, x_high), (y_low, y_high) = _span(points, 0, x_ticks), _span(points, 1, y_ticks)

        def place(x: float, y: float) -> tuple[float, float]:
            across = (x - x_low) / (x_high - x_low)
            up = (y - y_low) / (y_high - y_low)
            return (
                round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
                round(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM), 1),
            )

        parts = []
        for tick in y_ticks:
            x, y = place(x_low, tick)
            parts.append(f'<path d="M{x} {y}H{_WIDTH - _RIGHT}" stroke="{_ink(GRID)}"/>')
            parts.append(_text(x - 6, y + 4, f"{tick:g}", "end"))
        for tick in x_ticks:
            x, _ = place(tick, y_low)
            anchor = "end" if x > _WIDTH - 2 * _RIGHT else "middle"
            parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{tick:,.10g}", anchor))
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, self.x_label, "middle"))
        parts.append(_text(4, 14, self.y_label, "start"))
        axis = f"M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"
        parts.append(f'<path d="{axis}" stroke="{_ink(MUTED)}"/>')
        for (colour, _), line in zip(SERIES, self.lines, strict=False):
            parts.append(_line(line, colour, place))
        parts += self._legend()
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.alt)}" '
            f'font-size="12" fill="none">{"".join(parts)}</svg>'
        )

    def _legend(self) -> list[str]:
        """The names at the upper right, where there are several."""
        if len(self.lines) < 2:
            return []
        parts, right = [], _WIDTH - _RIGHT
        for (colour, _), line in reversed(list(zip(SERIES, self.lines, strict=False))):
            parts.append(_text(right, 14, line.name, "end", colour))
            right -= 7 * len(line.name) + 14
        return parts


def _line(line: Line, colour: str, place: Callable[[float, float], tuple[float, float]]) -> str:
    places = [place(x, y) for x, y in line.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    drawn = f'<path d="{path}" stroke="{_ink(colour)}" stroke-width="1.8"/>'
    every = -(-len(line.points) // _MOST_TIPS)
    return drawn + "".join(
        f'<circle class="tip" cx="{x}" cy="{y}" r="3" fill="{_ink(colour)}">'
        f"<title>{escape(line.name)}, {value_x:g}: {value_y:.4g}</title></circle>"
        for (x, y), (value_x, value_y) in list(zip(places, line.points, strict=True))[::every]
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{_ink(colour)}">{escape(text)}</text>'


def _ink(colour: str) -> str:
    return f"var({colour_variable(colour)})"


def _span(points: Sequence[tuple[float, float]], axis: int, ticks: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: those of the points and the ticks, never the same."""
    values = [*(point[axis] for point in points), *ticks]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(values: Sequence[float], *, around: bool = False) -> list[float]:
    """About _MOST_TICKS round numbers within the values, or from below the least to above the greatest."""
    low, high = min(values), max(values)
    if high <= low:
        return [low]
    rough = max((high - low) / _MOST_TICKS, 1e-6 * max(abs(low), abs(high)), 0 if around else 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    if around:
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    else:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]
