"""Data-efficiency curves, `Saving` against the per-task LoRA, and `SizedLoss`, the log-loss at one size.

Savings are of curves of seed means at the epoch that a run keeps, made to rise with the size by isotonic
regression (a rolling mean would bend their ends), and linear between sizes over the logarithm of the axis.
Shapes: D draws, P points of a curve.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import fsum

import numpy as np

from analysis.stats.aggregate import KEPT, Comparison, MethodSummary, Spread
from analysis.stats.bootstrap import LEVEL, Bootstrap, Interval, interval_of
from analysis.stats.result_table import Cell, Cost, MethodKey
from portal.methods import BASE

METRICS = ("acc", "log_loss")
AXES = ("size", "rows", "train_flops", "wall_s")
"""Calibration rows per task, and the mean cost of a run of that size: rows of all tasks together, with those
that chose its epoch; floating-point operations; seconds."""
MIN_SIZES, MIN_SIZES_ALONE = 2, 3
"""Fewer sizes than the first are a point, not a curve; a curve of fewer than the second needs another one."""
WINDOW = 3
MIN_SMOOTHED = 7
"""Curves of fewer sizes are not smoothed: a mean over neighbours would bend all of them."""


@dataclass(frozen=True)
class Curve:
    """One variant over ascending `sizes`, with the `costs` of one run of each size.

    `points` are raw means with seed std, `intervals` those of the means where there are predictions,
    `rolling` the smoothed means, or the means themselves where the sizes are few. `star` is the first size
    whose rolling value is as good as the per-task LoRA's best rolling value.
    """

    variant: MethodKey
    metric: str
    sizes: tuple[int, ...]
    points: tuple[Spread, ...]
    rolling: tuple[float, ...]
    star: int | None
    costs: tuple[Cost, ...]
    intervals: tuple[Interval | None, ...] = ()

    @property
    def is_smoothed(self) -> bool:
        """Whether the rolling means are others than the means."""
        return len(self.sizes) >= MIN_SMOOTHED

    @property
    def point_intervals(self) -> tuple[Interval | None, ...]:
        """The interval of every point, None where it has none."""
        return self.intervals or (None,) * len(self.points)

    def along(self, axis: str) -> tuple[float, ...] | None:
        """Places of the points on one of AXES; None when a cost is unknown."""
        if axis == "size":
            return tuple(map(float, self.sizes))
        costs = [getattr(cost, axis) for cost in self.costs]
        known = [cost for cost in costs if cost is not None and cost > 0]
        return tuple(known) if len(known) == len(costs) else None


@dataclass(frozen=True)
class CurveSet:
    """The curves of one base and metric, the frozen base's value and the LoRA's peak; null where unknown."""

    base: str
    metric: str
    curves: tuple[Curve, ...]
    frozen_base: float | None
    peak: float | None
    reference_lora: MethodKey | None
    score_name: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every size that any curve has, ascending."""
        return tuple(sorted({size for curve in self.curves for size in curve.sizes}))

    @property
    def has_intervals(self) -> bool:
        """Whether any point of any curve has an interval."""
        return any(interval is not None for curve in self.curves for interval in curve.intervals)

    @property
    def reference_curve(self) -> Curve | None:
        """The curve of the per-task LoRA that lift is measured against."""
        return next((curve for curve in self.curves if curve.variant == self.reference_lora), None)

    def on_axis(self, axis: str) -> "CurveSet | None":
        """The curves that can be drawn along one of AXES; None without any."""
        curves = tuple(curve for curve in self.curves if curve.along(axis) is not None)
        return replace(self, curves=curves) if curves else None

    @property
    def rows_differ(self) -> bool:
        """Whether the curves stand otherwise along all tasks' rows than along those per task."""
        pairs = [(curve.along("rows"), curve.sizes) for curve in self.curves]
        factors = {
            place / size
            for places, sizes in pairs
            if places is not None
            for place, size in zip(places, sizes, strict=True)
        }
        return len(factors) > 1

    def with_intervals(self, bootstrap: Bootstrap) -> "CurveSet":
        """The same with the interval of every point that the bootstrap covers."""
        return replace(
            self,
            curves=tuple(replace(each, intervals=self._intervals(each, bootstrap)) for each in self.curves),
        )

    def _intervals(self, curve: Curve, bootstrap: Bootstrap) -> tuple[Interval | None, ...]:
        cells = [Cell(self.base, curve.variant, size) for size in curve.sizes]
        return tuple(map(bootstrap.known_estimate, cells))


def build_curves(comparison: Comparison, metric: str) -> CurveSet | None:
    """Curves of the variants with MIN_SIZES sizes or more; None without any, or with a short one alone.

    The comparison is one made under rule `kept`. The rolling mean is centred over WINDOW neighbouring sizes
    and shorter at the ends.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: known are {', '.join(METRICS)}")
    assert comparison.rule == KEPT, "curves are read at the epoch that a run keeps"
    by_variant: dict[MethodKey, list[MethodSummary]] = {}
    for summary in comparison.summaries:
        if summary.cell.size is not None and _metric_of(summary, metric).mean is not None:
            by_variant.setdefault(summary.cell.variant, []).append(summary)
    smoothed = {
        variant: _smoothed([_metric_of(summary, metric).known for summary in summaries])
        for variant, summaries in by_variant.items()
        if len(summaries) >= MIN_SIZES
    }
    if not smoothed or (len(smoothed) == 1 and max(map(len, smoothed.values())) < MIN_SIZES_ALONE):
        return None
    lora = comparison.reference_lora.cell.variant if comparison.reference_lora is not None else None
    peak = None
    if lora is not None and lora in smoothed:
        peak = max(smoothed[lora]) if metric == "acc" else min(smoothed[lora])
    curves = tuple(
        _curve(variant, metric, by_variant[variant], rolling, peak) for variant, rolling in smoothed.items()
    )
    base = comparison.frozen_base
    value = _metric_of(base, metric).mean if base is not None else None
    return CurveSet(comparison.base, metric, curves, value, peak, lora, comparison.score_name)


def _smoothed(means: Sequence[float]) -> tuple[float, ...]:
    return rolling_mean(means) if len(means) >= MIN_SMOOTHED else tuple(means)


def rolling_mean(values: Sequence[float], *, window: int = WINDOW) -> tuple[float, ...]:
    """Centred mean over `window` neighbours; shorter at the ends, so no size is lost."""
    reach = window // 2
    spans = [values[max(0, place - reach) : place + reach + 1] for place in range(len(values))]
    return tuple(fsum(span) / len(span) for span in spans)


def first_reaching(
    sizes: Sequence[int], values: Sequence[float], target: float, *, higher_is_better: bool
) -> int | None:
    """The first size whose value is at least as good as `target`."""
    for size, value in zip(sizes, values, strict=True):
        if (value >= target) if higher_is_better else (value <= target):
            return size
    return None


def _curve(
    variant: MethodKey,
    metric: str,
    summaries: Sequence[MethodSummary],
    rolling: tuple[float, ...],
    peak: float | None,
) -> Curve:
    sizes = tuple(summary.cell.size for summary in summaries if summary.cell.size is not None)
    star = None
    if peak is not None:
        star = first_reaching(sizes, rolling, peak, higher_is_better=metric == "acc")
    points = tuple(_metric_of(summary, metric) for summary in summaries)
    costs = tuple(summary.cost for summary in summaries)
    return Curve(variant, metric, sizes, points, rolling, star, costs)


def _metric_of(summary: MethodSummary, metric: str) -> Spread:
    return summary.acc if metric == "acc" else summary.log_loss


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


@dataclass(frozen=True)
class SizedLoss:
    """The log-loss of a cell with its interval, and its difference from the LoRA's at the same size.

    The difference is paired, over the seeds that both have; None where there is no such LoRA, and for the
    LoRA itself. Intervals are None without predictions.
    """

    cell: Cell
    log_loss: Spread
    interval: Interval | None
    difference: Interval | None


def find_losses(comparison: Comparison, bootstrap: Bootstrap | None) -> tuple[SizedLoss, ...]:
    """Every variant at every size that has a log-loss, in the comparison's order."""
    lora = comparison.reference_lora
    losses = []
    for summary in comparison.summaries:
        cell = summary.cell
        if cell.size is None or summary.log_loss.mean is None:
            continue
        interval = difference = None
        if bootstrap is not None:
            interval = bootstrap.known_estimate(cell)
            if lora is not None and cell.variant != lora.cell.variant:
                against = Cell(cell.base, lora.cell.variant, cell.size)
                difference = bootstrap.known_difference(cell, against)
        losses.append(SizedLoss(cell, summary.log_loss, interval, difference))
    return tuple(losses)
