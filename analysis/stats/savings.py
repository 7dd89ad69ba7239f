"""`Saving`: how much less data, computation and time than the per-task LoRA a method needs for an accuracy.

Curves are the seed means at the epoch that a run keeps, made to rise with the size by isotonic regression (a
rolling mean would bend their ends), and linear between sizes over the logarithm of the axis. Shapes: D draws,
P points of a curve.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from analysis.stats.bootstrap import LEVEL, Bootstrap, Interval, interval_of
from analysis.stats.curves import AXES, Curve, CurveSet
from analysis.stats.result_table import Cell, MethodKey
from portal.methods import BASE

SHARES = (0.5, 0.75, 0.9, 1.0)
"""Shares of the way from the frozen base to the per-task LoRA's peak at which needs are compared."""
_LEAST_LIFT = 1e-9
"""A peak that is no higher than this above the base is rounding."""


@dataclass(frozen=True)
class Ratio:
    """The LoRA's need divided by the method's, with its interval.

    `bound` is "≥" or "≤" where a curve begins above the accuracy, so that its need is at most its smallest. A
    draw in which the method does not reach the accuracy counts as 0; `missed` is the share of such draws.
    `early` and `lora_early` are the shares of draws in which a curve begins above it: they count with the
    smallest size, so a limit that they reach is a bound.
    """

    interval: Interval
    bound: str = ""
    missed: float = 0.0
    early: float = 0.0
    lora_early: float = 0.0

    @property
    def low_bound(self) -> str:
        """ "≤" where the lower limit is a bound."""
        return "\u2264" if self.lora_early > (1 - LEVEL) / 2 else ""

    @property
    def high_bound(self) -> str:
        """ "≥" where the upper limit is a bound."""
        return "\u2265" if self.early > (1 - LEVEL) / 2 else ""

    @property
    def value(self) -> float | None:
        return self.interval.value

    @property
    def is_above_one(self) -> bool:
        """Whether the interval says that the method needs less, whatever its bounds hide."""
        return self.interval.low is not None and self.interval.low > 1 and not self.low_bound

    @property
    def is_below_one(self) -> bool:
        """Whether the interval says that the method needs more."""
        return self.interval.high is not None and self.interval.high < 1 and not self.high_bound


@dataclass(frozen=True)
class Saving:
    """The needs of `variant` and of the LoRA at `share` of the LoRA's lift, on one of AXES.

    A need is null where the accuracy is not reached.
    """

    variant: MethodKey
    axis: str
    share: float
    accuracy: float
    needed: float | None
    lora_needs: float
    ratio: Ratio


@dataclass(frozen=True)
class Savings:
    """All savings on a base, or the reason why there are none."""

    found: tuple[Saving, ...] = ()
    reason: str | None = None


def find_savings(curves: CurveSet, bootstrap: Bootstrap | None) -> Savings:
    """Savings of every curve but the LoRA's own, by variant, share and axis.

    Accuracy alone is compared. There are none without a LoRA's curve and a base, or where the LoRA's rise is
    not clearly positive; and no intervals without a bootstrap, or where the sizes do not have the same seeds.
    """
    assert curves.metric == "acc"
    reference = curves.reference_curve
    if reference is None or curves.frozen_base is None:
        return Savings(reason="there is no curve of the per-task LoRA, or no frozen base")
    drawn = _draw_curves(curves, reference, reference, bootstrap)
    rises = _rising(reference).max() - curves.frozen_base >= _LEAST_LIFT
    if not rises or (drawn is not None and drawn.share_risen < 1 - (1 - LEVEL) / 2):
        return Savings(reason="the per-task LoRA's rise over the base is not clearly positive")
    found: list[Saving] = []
    for curve in curves.curves:
        if curve is not reference:
            found += _savings_of(curves, curve, reference, _draw_curves(curves, curve, reference, bootstrap))
    return Savings(tuple(found))


def headline_savings(savings: Iterable[Saving]) -> list[Saving]:
    """The savings of every variant on all axes at one share.

    That is the highest share at which the interval of its rows per task says that it needs fewer. Where none
    does, the highest that nearly all its draws reach; and where they reach none, that its means reach.
    """
    reached: dict[MethodKey, dict[float, list[Saving]]] = {}
    for saving in savings:
        if saving.needed is not None:
            reached.setdefault(saving.variant, {}).setdefault(saving.share, []).append(saving)
    headlines: list[Saving] = []
    for by_share in reached.values():
        ratios = {
            share: saving.ratio for share, own in by_share.items() for saving in own if saving.axis == "size"
        }
        fewer = [share for share, ratio in ratios.items() if ratio.is_above_one]
        firm = [share for share, ratio in ratios.items() if ratio.missed <= (1 - LEVEL) / 2]
        headlines += by_share[max(fewer or firm or by_share)]
    return headlines


def find_need(places: np.ndarray, value_DP: np.ndarray, level_D: np.ndarray) -> np.ndarray:
    """(D,) where on the axis each curve first reaches its level; infinite where it does not.

    `places` are (P,), positive, none below the one before. A curve that begins at its level or above needs
    `places[0]`.
    """
    reached_DP = value_DP >= level_D[:, None]
    first_D = reached_DP.argmax(axis=1)
    before_D = np.maximum(first_D - 1, 0)
    rows = np.arange(len(value_DP))
    low_D, high_D = value_DP[rows, before_D], value_DP[rows, first_D]
    rise_D = np.where(high_D > low_D, high_D - low_D, 1.0)
    part_D = np.where(first_D > 0, (level_D - low_D) / rise_D, 0.0)
    log_P = np.log(places)
    between_D = np.exp(log_P[before_D] + part_D * (log_P[first_D] - log_P[before_D]))
    need_D = np.where(first_D > 0, between_D, places[0])
    return np.where(reached_DP.any(axis=1), need_D, np.inf)


def _savings_of(curves: CurveSet, curve: Curve, reference: Curve, drawn: "_Drawn | None") -> list[Saving]:
    """The savings of one variant, by share and axis."""
    return [
        _saving(curves, curve, reference, axis, share, drawn)
        for share in SHARES
        for axis in AXES
        if curve.along(axis) is not None and reference.along(axis) is not None
    ]


def _saving(
    curves: CurveSet, curve: Curve, reference: Curve, axis: str, share: float, drawn: "_Drawn | None"
) -> Saving:
    assert curves.frozen_base is not None
    places, lora_places = _places(curve, axis), _places(reference, axis)
    values, lora_values = _rising(curve), _rising(reference)
    level = _level(np.array([curves.frozen_base]), lora_values, share)
    need = float(find_need(places, values, level)[0])
    lora_need = float(find_need(lora_places, lora_values, level)[0])
    early, lora_early = bool(values[0, 0] >= level[0]), bool(lora_values[0, 0] >= level[0])
    ratio = _ratio(lora_need / need, early=early, lora_early=lora_early)
    if drawn is not None and ratio.value is not None:
        level_D = _level(drawn.base_D, drawn.lora_DP, share)
        ratio_D = find_need(lora_places, drawn.lora_DP, level_D) / find_need(places, drawn.own_DP, level_D)
        ratio = replace(
            ratio,
            interval=interval_of(ratio.value, ratio_D),
            missed=float(np.mean(ratio_D == 0)),
            early=float(np.mean(drawn.own_DP[:, 0] >= level_D)),
            lora_early=float(np.mean(drawn.lora_DP[:, 0] >= level_D)),
        )
    return Saving(
        variant=curve.variant,
        axis=axis,
        share=share,
        accuracy=float(level[0]),
        needed=need if np.isfinite(need) else None,
        lora_needs=lora_need,
        ratio=ratio,
    )


def _ratio(value: float, *, early: bool, lora_early: bool) -> Ratio:
    """The ratio without an interval, and the reason why it has none."""
    if early and lora_early:
        return Ratio(Interval(None, None, None, reason="both reach it with their smallest size"))
    if value == 0:
        return Ratio(Interval(None, None, None, reason="not reached"))
    bound = "\u2265" if early else "\u2264" if lora_early else ""
    reason = "no interval: predictions are missing, or the sizes do not have the same seeds"
    return Ratio(Interval(value, None, None, reason=reason), bound)


@dataclass(frozen=True)
class _Drawn:
    """Base and curves in the draws in which the LoRA rises over the base, and the share of such draws."""

    share_risen: float
    base_D: np.ndarray
    lora_DP: np.ndarray
    own_DP: np.ndarray


def _draw_curves(
    curves: CurveSet, curve: Curve, reference: Curve, bootstrap: Bootstrap | None
) -> _Drawn | None:
    """Base and curves, made to rise, in the draws in which the LoRA rises over the base.

    None without predictions of all cells, or where not all of them have the seeds that the means are of.
    """
    own = [Cell(curves.base, curve.variant, size) for size in curve.sizes]
    lora = [Cell(curves.base, reference.variant, size) for size in reference.sizes]
    if bootstrap is None:
        return None
    base = [cell for cell in bootstrap.members if cell.method == BASE.name and cell.base == curves.base][:1]
    cells = (*base, *lora, *own)
    if not base or not bootstrap.can_compare(*cells):
        return None
    num_seeds = len(bootstrap.shared_seeds(*cells))
    points = (*reference.points, *curve.points)
    if any(len(bootstrap.members[cell]) != num_seeds for cell in cells[1:]) or any(
        point.n != num_seeds for point in points
    ):
        return None
    draws, _ = bootstrap.paired(*cells)
    base_D, value_DP = draws[0], np.stack(draws[1:], axis=1)
    lora_DP, own_DP = make_rising(value_DP[:, : len(lora)]), make_rising(value_DP[:, len(lora) :])
    risen = lora_DP.max(axis=1) > base_D
    return _Drawn(float(risen.mean()), base_D[risen], lora_DP[risen], own_DP[risen])


def _places(curve: Curve, axis: str) -> np.ndarray:
    """(P,) where the points stand on the axis; measured costs are made to rise with the size."""
    places = curve.along(axis)
    assert places is not None
    if all(before <= after for before, after in pairwise(places)):
        return np.array(places)
    return np.exp(make_rising(np.log([places]))[0])


def _level(base_D: np.ndarray, lora_DP: np.ndarray, share: float) -> np.ndarray:
    """(D,) accuracies at a share of the LoRA's lift; at most its peak, in spite of rounding."""
    peak_D = lora_DP.max(axis=1)
    return np.minimum(base_D + share * (peak_D - base_D), peak_D)


def make_rising(value_DP: np.ndarray) -> np.ndarray:
    """(D, P) the nearest rising curves in the sense of least squares: isotonic regression.

    By the min-max formula: max over starts up to a point of the min over ends from it of the mean between
    (Robertson, Wright and Dykstra, 1988, theorem 1.4.4).
    """
    num_points = value_DP.shape[1]
    total_DP = np.concatenate([np.zeros((len(value_DP), 1)), value_DP.cumsum(axis=1)], axis=1)
    rising_DP = np.full_like(value_DP, -np.inf)
    for start in range(num_points):
        ends = np.arange(start + 1, num_points + 1)
        mean_DP = (total_DP[:, ends] - total_DP[:, [start]]) / (ends - start)
        least_DP = np.minimum.accumulate(mean_DP[:, ::-1], axis=1)[:, ::-1]
        rising_DP[:, start:] = np.maximum(rising_DP[:, start:], least_DP)
    return rising_DP


def _rising(curve: Curve) -> np.ndarray:
    """(1, P) the curve's seed means, made to rise."""
    return make_rising(np.array([[point.known for point in curve.points]]))
