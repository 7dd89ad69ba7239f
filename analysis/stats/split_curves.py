"""Curves of accuracy on tasks without a row: over rows per calibrated task, and over calibrated tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from analysis.stats.result_table import MethodKey
from analysis.stats.task_split import TaskSplit

MIN_PLACES = 2
"""Fewer places than this on an axis are points, not a curve."""


@dataclass(frozen=True)
class SplitCurve:
    """The splits of one method by ascending place on an axis."""

    places: tuple[int, ...]
    splits: tuple[TaskSplit, ...]

    @property
    def variant(self) -> MethodKey:
        """The variant of its first split: its splits differ in their labels at most."""
        return self.splits[0].cell.variant

    @property
    def is_port(self) -> bool:
        return self.splits[0].is_port


@dataclass(frozen=True)
class SplitPanel:
    """Curves along one axis for one value of the other, `fixed`; ports come first."""

    fixed: int
    curves: tuple[SplitCurve, ...]


def curves_over_rows(splits: Sequence[TaskSplit]) -> tuple[SplitPanel, ...]:
    """By number of calibrated tasks, descending: splits with tasks without a row over rows per task."""
    partial = [split for split in splits if split.is_partial]
    return tuple(_panels(partial, lambda split: split.num_calibrated, lambda split: split.cell.size))[::-1]


def curves_over_tasks(splits: Sequence[TaskSplit]) -> tuple[SplitPanel, ...]:
    """By rows per calibrated task, ascending: splits over the number of calibrated tasks."""
    return tuple(_panels(splits, lambda split: split.cell.size, lambda split: split.num_calibrated))


def curves_beside(split: TaskSplit, splits: Sequence[TaskSplit]) -> SplitPanel:
    """Every curve over rows per task, of one size too, with as many calibrated tasks as the split."""
    alike = [each for each in splits if each.is_partial and each.num_calibrated == split.num_calibrated]
    sized = [each for each in alike if each.cell.size is not None]
    return _panel(sized, split.num_calibrated, lambda each: each.cell.size)


_Place = Callable[[TaskSplit], int | None]


def _panels(splits: Sequence[TaskSplit], fixed: _Place, place: _Place) -> Iterator[SplitPanel]:
    """The panels in which a port has a curve, by ascending value of what is fixed."""
    known = [split for split in splits if fixed(split) is not None and place(split) is not None]
    for value in sorted({fixed(split) or 0 for split in known}):
        panel = _panel([split for split in known if fixed(split) == value], value, place)
        if any(curve.is_port and len(curve.places) >= MIN_PLACES for curve in panel.curves):
            yield panel


def _panel(splits: Sequence[TaskSplit], value: int, place: _Place) -> SplitPanel:
    curves = _curves(splits, place)
    return SplitPanel(value, tuple(sorted(curves, key=lambda curve: not curve.is_port)))


def _curves(splits: Sequence[TaskSplit], place: _Place) -> Iterator[SplitCurve]:
    """A curve for every method and shape; for every label where two of them would share a place."""
    by_shape: dict[object, list[TaskSplit]] = {}
    for split in splits:
        variant = split.cell.variant
        by_shape.setdefault(variant._replace(name=variant.method), []).append(split)
    for own in by_shape.values():
        if len({place(split) for split in own}) == len(own):
            yield _curve(own, place)
            continue
        for variant in dict.fromkeys(split.cell.variant for split in own):
            yield _curve([split for split in own if split.cell.variant == variant], place)


def _curve(splits: Sequence[TaskSplit], place: _Place) -> SplitCurve:
    ordered = sorted(splits, key=lambda split: place(split) or 0)
    return SplitCurve(tuple(place(split) or 0 for split in ordered), tuple(ordered))
