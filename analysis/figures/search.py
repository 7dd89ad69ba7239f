"""Figures of a search or a grid: all settings of every trial side by side, and the two that matter most."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.figure import MUTED, RC, WIDTH_IN, Drawing
from portal.search_record import SearchRecord, SearchTrial

MOST_SETTINGS = 6
"""Settings in the figure of all of them, those that matter most."""
_COLOURS = "viridis"
_MIN_SURFACE = 8
"""Fewer places than this are points without a surface."""
_GAP, _WIDEST = 0.02, 0.1
"""Between the points of one place, and from the first to the last, as shares of the axis."""
_APART = 0.05
"""Between the first and the last line of runs with one setting, as a share of the axis."""
_MOST_LEVELS = 6
"""Numbers that all have a tick."""
_LONGEST, _LONGEST_ROW = 18, 40
"""Characters of a tick, and of a row of them that lies flat."""


@dataclass(frozen=True)
class Scale:
    """The values of a setting on an axis from 0 to 1: numbers by their size, words side by side.

    `levels` are the numbers where they are few.
    """

    name: str
    places: dict[str, float]  # by the setting's text, of words
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    levels: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, trials: Sequence[SearchTrial], *, is_log: bool, has_levels: bool) -> "Scale":
        """The scale that holds what these trials have."""
        values = [trial.settings[name] for trial in trials]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            levels = sorted({*map(float, values)})
            few = tuple(levels) if has_levels and len(levels) <= _MOST_LEVELS else ()
            return cls(name, {}, levels[0], levels[-1], is_log, few)
        words = sorted({trial.text(name) for trial in trials}, key=_natural)
        return cls(name, {word: place / max(1, len(words) - 1) for place, word in enumerate(words)})

    def place(self, trial: SearchTrial) -> float:
        """Where the trial's value lies; the middle where all values are one."""
        if self.places:
            return self.places[trial.text(self.name)] if len(self.places) > 1 else 0.5
        return self._place_of(float(trial.settings[self.name]))

    def _place_of(self, value: float) -> float:
        if self.low == self.high:
            return 0.5
        if self.is_log:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places with their texts: all words or few numbers, else the ends and the middle."""
        if self.places:
            return [
                (place if len(self.places) > 1 else 0.5, _shortened(word))
                for word, place in self.places.items()
            ]
        if self.levels:
            return [(self._place_of(level), f"{level:.3g}") for level in self.levels]
        middle = (self.low * self.high) ** 0.5 if self.is_log else (self.low + self.high) / 2
        return [(0.0, f"{self.low:.3g}"), (0.5, f"{middle:.2g}"), (1.0, f"{self.high:.3g}")]


def _shortened(word: str) -> str:
    return word if len(word) <= _LONGEST else f"{word[: _LONGEST - 1]}…"


def _natural(word: str) -> list[tuple[bool, float, str]]:
    """The order in which people put words with numbers in them: `of5` before `of11`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", word)
    return [
        (True, float(part), "") if number % 2 else (False, 0.0, part) for number, part in enumerate(parts)
    ]


def draw_parallel(record: SearchRecord, slug: str) -> Drawing | None:
    """A line per complete trial through its settings, coloured by its score; None for fewer than two."""
    trials, names = record.complete, _names(record)
    if len(trials) < 2 or not names:
        return None
    scales = [_scale(record, name) for name in names]
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(max(WIDTH_IN, 1.3 * len(names)), 3.6), layout="constrained")
        beside = ", and lines of equal settings lie a little apart" if record.unit == "run" else ""
        drawing = Drawing(
            f"{slug}-settings",
            f"{_which(record, names)} of the {len(trials)} complete {record.unit}s of {record.name}. A "
            f"line is a {record.unit}, coloured by its {record.metric} on validation rows; the best is drawn "
            f"last{beside}.",
            _alternative(record),
            figure,
        )
        axes = figure.add_subplot()
        colours = _score_colours(figure, axes, record)
        for number, trial in enumerate(reversed(trials)):
            apart = _APART * (number / (len(trials) - 1) - 0.5) if record.unit == "run" else 0.0
            heights = [scale.place(trial) + apart for scale in scales]
            tip = drawing.tip(_describe(record, trial, names))
            axes.plot(
                range(len(scales)), heights, color=_shade(colours, trial), linewidth=1.6, alpha=0.85,
                gid=tip,
            )  # fmt: skip
        for number, scale in enumerate(scales):
            axes.axvline(number, color=MUTED, linewidth=0.8)
            for place, text in scale.ticks:
                side = 7 if place == 1.0 else -7 if place == 0.0 else 0
                axes.annotate(
                    text, (number, place), (2, side), textcoords="offset points", fontsize=7.5, va="center",
                    path_effects=[withStroke(linewidth=2.5, foreground="white")],
                )  # fmt: skip
        axes.set_xticks(range(len(scales)), [_short(name) for name in names])
        axes.set_xlim(-0.1, len(scales) - 0.6)
        axes.set_ylim(-0.1, 1.1)
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(axis="x", length=0, labelsize=7.5)
    return drawing


def draw_contour(record: SearchRecord, slug: str) -> Drawing | None:
    """The trials by the two settings that matter most, over the surface between them; None without these."""
    trials, names = record.complete, _names(record)[:2]
    if len(trials) < 2 or len(names) < 2 or not record.importance:
        return None
    across, up = (_scale(record, name) for name in names)
    x = np.array([across.place(trial) for trial in trials])
    y = np.array([up.place(trial) for trial in trials])
    places = _by_place(trials, x, y)
    are_numbers = not (across.places or up.places)
    has_surface = are_numbers and len(places) >= _MIN_SURFACE and _spans_a_surface(x, y)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(WIDTH_IN, 3.6), layout="constrained")
        drawing = Drawing(
            f"{slug}-contour",
            f"The two settings of {record.name} that matter most, and {record.metric} on validation rows. "
            f"{_what_is_drawn(record, has_surface=has_surface)}",
            _alternative(record),
            figure,
        )
        axes = figure.add_subplot()
        colours = _score_colours(figure, axes, record)
        if has_surface:
            means = [fsum(map(_score, here)) / len(here) for here in places.values()]
            at_x, at_y = zip(*places, strict=True)
            axes.tricontourf(at_x, at_y, means, levels=12, cmap=colours.cmap, norm=colours.norm, alpha=0.55)
        for trial, x_place, y_place in _side_by_side(places):
            tip = drawing.tip(_describe(record, trial, names))
            axes.scatter(
                x_place, y_place, color=[_shade(colours, trial)], s=38, edgecolors="white",
                linewidths=0.8, gid=tip, zorder=3,
            )  # fmt: skip
        _label(axes, across, up)
    return drawing


def _what_is_drawn(record: SearchRecord, *, has_surface: bool) -> str:
    """What a point and the surface are."""
    unit = record.unit
    surface = f"; the surface is linear between {unit}s" if has_surface else ""
    have_others = len({name for trial in record.complete for name in trial.settings}) > 2
    others = f"; {unit}s differ in other settings, too" if have_others else ""
    beside = "; those of equal settings lie side by side" if unit == "run" else ""
    return f"A point is a {unit}{surface}{others}{beside}."


def _by_place(
    trials: Sequence[SearchTrial], x: np.ndarray, y: np.ndarray
) -> dict[tuple[float, float], list[SearchTrial]]:
    """The trials at each point of the plane."""
    places: dict[tuple[float, float], list[SearchTrial]] = {}
    for trial, across, up in zip(trials, x.tolist(), y.tolist(), strict=True):
        places.setdefault((across, up), []).append(trial)
    return places


def _side_by_side(
    places: Mapping[tuple[float, float], Sequence[SearchTrial]],
) -> Iterator[tuple[SearchTrial, float, float]]:
    """Every trial with where it is drawn: those of one place side by side."""
    for (x, y), here in places.items():
        gap = min(_GAP, _WIDEST / len(here))
        for number, trial in enumerate(here):
            yield trial, x + gap * (number - (len(here) - 1) / 2), y


def _label(axes: Axes, across: Scale, up: Scale) -> None:
    for axis, scale in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_locator(FixedLocator([place for place, _ in scale.ticks]))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([text for _, text in scale.ticks])
    if sum(len(text) for _, text in across.ticks) > _LONGEST_ROW:
        axes.tick_params(axis="x", rotation=20)
    axes.set_xlim(-0.06, 1.06)
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlabel(f"{across.name}{', log scale' if across.is_log else ''}")
    axes.set_ylabel(f"{up.name}{', log scale' if up.is_log else ''}")


def _names(record: SearchRecord) -> list[str]:
    """The settings that every complete trial has, those that matter most first."""
    shared = set.intersection(*({*trial.settings} for trial in record.complete)) if record.complete else set()
    ranked = [name for name, _ in record.ranked if name in shared]
    return (ranked or sorted(shared))[:MOST_SETTINGS]


def _which(record: SearchRecord, names: Sequence[str]) -> str:
    """What the settings in the figure are, of all that there are."""
    every = {name for trial in record.complete for name in trial.settings}
    which = "The settings" if len(names) == len(every) else f"{len(names)} of {len(every)} settings"
    return f"{which}, those that matter most to the left," if record.importance else which


def _scale(record: SearchRecord, name: str) -> Scale:
    is_log, has_levels = name in record.logarithmic, record.unit == "run"
    return Scale.of(name, record.complete, is_log=is_log, has_levels=has_levels)


def _score_colours(figure: Figure, axes: Axes, record: SearchRecord) -> ScalarMappable:
    """The colours of the complete trials' scores, the best the lightest, with their bar beside the axes."""
    scores = [_score(trial) for trial in record.complete]
    name = _COLOURS if record.direction == "maximize" else f"{_COLOURS}_r"
    colours = ScalarMappable(Normalize(min(scores), max(scores)), name)
    figure.colorbar(colours, ax=axes, label=f"{record.metric} on validation rows")
    return colours


def _shade(colours: ScalarMappable, trial: SearchTrial) -> np.ndarray:
    """Red, green, blue and opacity."""
    return colours.to_rgba(np.asarray(_score(trial)))


def _score(trial: SearchTrial) -> float:
    assert trial.value is not None, "a complete trial has a value"
    return trial.value


def _spans_a_surface(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the points lie on more than a line."""
    return bool(np.linalg.matrix_rank(np.stack([x - x.mean(), y - y.mean()]), tol=1e-6) == 2)


def _describe(record: SearchRecord, trial: SearchTrial, names: Sequence[str]) -> str:
    settings = ", ".join(f"{name} {trial.text(name)}" for name in names)
    which = record.unit if record.unit == "run" else f"{record.unit} {trial.number}"
    return f"{which}: {record.metric} {trial.value:.4f}; {settings}"


def _short(name: str) -> str:
    """The setting on two lines: its method and part, and its field."""
    *front, field = name.split(".")
    return f"{'.'.join(front)}\n{field}" if front else field


def _alternative(record: SearchRecord) -> str:
    best = record.complete[0]
    shares = ", ".join(f"{name} {100 * each.share:.0f} %" for name, each in record.ranked)
    told = f" Shares of the variance: {shares}." if shares else ""
    described = _describe(record, best, sorted(best.settings))
    return f"{described} is the best of {len(record.complete)} {record.unit}s.{told}"
