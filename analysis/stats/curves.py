"""Data-efficiency curves: accuracy and log-loss of a variant against rows, operations and time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Bootstrap, Interval
from analysis.stats.epoch_selection import KEPT
from analysis.stats.quantities import Spread
from analysis.stats.result_table import Cell, Cost, MethodKey

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
