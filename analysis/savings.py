"""`Saving`: how much less data, computation and time than the per-task LoRA a method needs for an accuracy.

Curves are the seed means at the final epoch, made to rise with the size by isotonic regression (a rolling
mean would bend their ends), and linear between sizes over the logarithm of the axis. Shapes: D draws, P
points of a curve.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from analysis.curves import AXES, Curve, CurveSet
from analysis.intervals import Bootstrap, Interval, interval_of
from analysis.runs import Cell, Variant

SHARES = (0.5, 0.75, 0.9, 1.0)
"""Of the way from the frozen base to the per-task LoRA's peak: the accuracies at which needs are compared."""
_LEAST_LIFT = 1e-9
"""A peak that is no higher than this above the base is rounding."""


@dataclass(frozen=True)
class Ratio:
    """What the LoRA needs over what the method needs, with its interval.

    `bound` is "≥" or "≤" where a curve begins above the accuracy, so that its need is at most its smallest. A
    draw in which the method does not reach the accuracy counts as 0.
    """

    interval: Interval
    bound: str = ""

    @property
    def value(self) -> float | None:
        return self.interval.value


@dataclass(frozen=True)
class Saving:
    """The needs of `variant` and of the LoRA at `share` of the LoRA's lift, on one of AXES.

    A need is null where the accuracy is not reached.
    """

    variant: Variant
    axis: str
    share: float
    accuracy: float
    needed: float | None
    lora_needs: float
    ratio: Ratio


def find_savings(curves: CurveSet, bootstrap: Bootstrap | None) -> tuple[Saving, ...]:
    """Savings of every curve but the LoRA's own, by variant, share and axis; none without a LoRA's curve.

    Accuracy alone is compared. Without a bootstrap, or where the sizes share no seed, there are no intervals.
    """
    reference = curves.reference
    if curves.metric != "acc" or reference is None or curves.floor is None:
        return ()
    if _rising(reference).max() - curves.floor < _LEAST_LIFT:
        return ()
    return tuple(
        _saving(curves, curve, reference, axis, share, bootstrap)
        for curve in curves.curves
        if curve is not reference
        for share in SHARES
        for axis in AXES
        if curve.along(axis) is not None and reference.along(axis) is not None
    )


def headline_savings(savings: Iterable[Saving]) -> list[Saving]:
    """Of every variant, all axes at the highest share that it reaches."""
    reached: dict[tuple[Variant, str], Saving] = {}
    for saving in savings:
        if saving.needed is not None:
            reached[saving.variant, saving.axis] = saving
    return list(reached.values())


def find_need(places: np.ndarray, value_DP: np.ndarray, level_D: np.ndarray) -> np.ndarray:
    """(D,) where on the axis each curve first reaches its level; infinite where it does not.

    `places` are (P,), positive and ascending. A curve that begins at its level or above needs `places[0]`.
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


def _saving(
    curves: CurveSet, curve: Curve, reference: Curve, axis: str, share: float, bootstrap: Bootstrap | None
) -> Saving:
    assert curves.floor is not None
    places, lora_places = np.array(curve.along(axis)), np.array(reference.along(axis))
    values, lora_values = _rising(curve), _rising(reference)
    level = _level(np.array([curves.floor]), lora_values, share)
    need = float(find_need(places, values, level)[0])
    lora_need = float(find_need(lora_places, lora_values, level)[0])
    early, lora_early = values[0, 0] >= level[0], lora_values[0, 0] >= level[0]
    return Saving(
        variant=curve.variant,
        axis=axis,
        share=share,
        accuracy=float(level[0]),
        needed=need if np.isfinite(need) else None,
        lora_needs=lora_need,
        ratio=_ratio(
            lora_need / need,
            None if bootstrap is None else _drawn_ratios(curves, curve, reference, axis, share, bootstrap),
            early=bool(early),
            lora_early=bool(lora_early),
        ),
    )


def _ratio(value: float, draws: np.ndarray | None, *, early: bool, lora_early: bool) -> Ratio:
    if early and lora_early:
        reason = "both reach it with their smallest size"
        return Ratio(Interval(None, None, None, reason=reason))
    bound = "\u2265" if early else "\u2264" if lora_early else ""
    if value == 0:
        return Ratio(Interval(None, None, None, reason="not reached"))
    if draws is None:
        return Ratio(Interval(value, None, None, reason="no predictions of all sizes"), bound)
    return Ratio(interval_of(value, draws), bound)


def _drawn_ratios(
    curves: CurveSet, curve: Curve, reference: Curve, axis: str, share: float, bootstrap: Bootstrap
) -> np.ndarray | None:
    """(D,) the ratio in every draw; None unless all its cells have predictions and share a seed."""
    own = [Cell(curves.base, curve.variant, size) for size in curve.sizes]
    lora = [Cell(curves.base, reference.variant, size) for size in reference.sizes]
    base = [cell for cell in bootstrap.members if cell.method == "base" and cell.base == curves.base][:1]
    cells = (*base, *lora, *own)
    if not base or not bootstrap.can_compare(*cells):
        return None
    draws, _ = bootstrap.paired(*cells)
    floor_D, value_DP = draws[0], np.stack(draws[1:], axis=1)
    lora_DP, own_DP = make_rising(value_DP[:, : len(lora)]), make_rising(value_DP[:, len(lora) :])
    level_D = _level(floor_D, lora_DP, share)
    need_D = find_need(np.array(curve.along(axis)), own_DP, level_D)
    return find_need(np.array(reference.along(axis)), lora_DP, level_D) / need_D


def _level(floor_D: np.ndarray, lora_DP: np.ndarray, share: float) -> np.ndarray:
    """(D,) accuracies at a share of the LoRA's lift; at most its peak, whatever rounding does."""
    peak_D = lora_DP.max(axis=1)
    return np.minimum(floor_D + share * (peak_D - floor_D), peak_D)


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
