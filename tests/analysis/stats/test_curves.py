"""Curves, what equal accuracy needs by hand, with bounds and intervals, and log-losses at every size."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.report.sentences import describe_savings, state_times, state_times_interval
from analysis.stats.aggregate import KEPT, compare
from analysis.stats.bootstrap import Interval
from analysis.stats.curves import (
    CurveSet,
    Ratio,
    Saving,
    Savings,
    build_curves,
    find_losses,
    find_need,
    find_savings,
    first_reaching,
    headline_savings,
    make_rising,
    rolling_mean,
)
from analysis.stats.result_table import MethodKey
from tests.support.few_rows import target_of_study
from tests.support.result_tables import StudyBuilder, known, limits, row, study_of

SIZES = (8, 16, 32, 64, 128, 256, 512)
BASE_ROW = row(run="base", acc_norm=0.2, log_loss=2.0)


def curves_from(rows: list[dict], metric: str = "acc") -> CurveSet | None:
    return build_curves(compare(study_of(rows), "big", KEPT), metric)


def curves_of(accuracies: dict[str, tuple[float, ...]], metric: str = "acc") -> CurveSet | None:
    rows = [
        row(
            run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value,
            log_loss=1 - value,
        )
        for method, values in accuracies.items()
        for size, value in zip(SIZES, values, strict=False)
    ]  # fmt: skip
    return curves_from([BASE_ROW, *rows], metric)


def test_a_star_marks_the_first_size_that_reaches_the_loras_peak() -> None:
    values = {"lora": (0.2, 0.3, 0.4, 0.5, 0.6), "portal": (0.3, 0.6, 0.9, 0.9, 0.9)}
    for metric, peak, base in (("acc", 0.6, 0.2), ("log_loss", 0.4, 2.0)):
        curves = known(curves_of(values, metric))
        assert (curves.peak, curves.frozen_base) == pytest.approx((peak, base))
        assert {curve.variant.method: curve.star for curve in curves.curves} == {"portal": 16, "lora": 128}


def test_only_curves_of_many_sizes_are_smoothed_by_a_centred_mean_that_is_shorter_at_the_ends() -> None:
    short, long = (
        known(curves_of({"lora": tuple(value / 100 for value in range(10, last))})) for last in (15, 17)
    )

    assert rolling_mean([1.0, 2.0, 6.0, 7.0]) == (1.5, 3.0, 5.0, 6.5)
    assert short.curves[0].rolling == tuple(point.known for point in short.curves[0].points)
    # The rolling curve ends at the mean of its last two sizes.
    assert long.peak == pytest.approx((0.15 + 0.16) / 2)
    assert long.curves[0].star == 512


def test_one_size_is_no_curve_two_are_beside_another_and_without_the_loras_peak_there_is_no_star() -> None:
    assert curves_of({"lora": (0.2,), "portal": (0.3,)}) is None
    assert curves_of({"lora": (0.2, 0.3)}) is None
    two = known(curves_of({"lora": (0.2, 0.3), "portal": (0.3, 0.4)}))
    assert [curve.rolling for curve in two.curves] == [(0.3, 0.4), (0.2, 0.3)]
    assert [curve.star for curve in known(curves_of({"portal": (0.2, 0.3, 0.4)})).curves] == [None]
    assert first_reaching(SIZES, (0.1,) * 7, 0.5, higher_is_better=True) is None


def test_curves_read_the_epoch_that_a_run_keeps_and_join_the_main_run(demo_builder: StudyBuilder) -> None:
    curves = known(build_curves(compare(demo_builder.study(), "mini-qwen3-m", KEPT), "acc"))

    assert curves.sizes == (8, 16, 32, 64, 128, 256)
    assert all(point.n == 3 for curve in curves.curves for point in curve.points)


def test_a_curve_stands_along_its_costs_where_they_are_known() -> None:
    def build(**changed: float | None) -> CurveSet:
        rows = [
            row(
                run=f"portal{size}", method="portal", size=size, seed=0, epoch=5, train_flops=cost,
                wall_s=changed.get(str(size), cost),
            )
            for size, cost in {8: 10.0, 16: 20.0, 32: 40.0}.items()
        ]  # fmt: skip
        return known(curves_from(rows))

    assert build().curves[0].along("train_flops") == (10.0, 20.0, 40.0)
    assert build().curves[0].along("size") == (8.0, 16.0, 32.0)
    assert build(**{"16": 5.0}).curves[0].along("wall_s") == (10.0, 5.0, 40.0)
    for changed in ({"16": None}, {"8": 0.0}):
        assert build(**changed).on_axis("wall_s") is None
        assert build(**changed).on_axis("train_flops") is not None


def test_the_rows_of_all_tasks_differ_where_a_port_sees_some_tasks_or_a_run_uses_validation_rows() -> None:
    for without, keeps_best, lora, portal in (
        ("b", False, (4, 8), (2, 4)),
        ("", False, (4, 8), (4, 8)),
        ("b", True, (4 + 32, 8 + 32), (2 + 16, 4 + 16)),
    ):
        rows = [
            row(
                run=f"{method}{size}", method=method, size=size, seed=0, epoch=1, task=task, split=split,
                num_examples=16, train_rows=0 if task in without and method == "portal" else size,
                calibrated=method == "lora" or task not in without, keeps_best=keeps_best, kept=True,
            )
            for method in ("lora", "portal")
            for size in (2, 4)
            for task in ("a", "b")
            for split in ("validation", "test")
        ]  # fmt: skip
        curves = known(curves_from(rows))
        found = {curve.variant.method: curve.along("rows") for curve in curves.curves}
        assert found == {"lora": lora, "portal": portal}
        assert curves.rows_differ == (portal != lora)


SAVING_SIZES = (10, 100, 1000, 10_000)
COST = {"portal": 3.0, "lora": 1.0}
"""Operations and seconds per row."""
AHEAD, BEHIND = (0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7)
"""Accuracies by size; the first is one size ahead of the second everywhere."""
NO_RISE = "the per-task LoRA's rise over the base is not clearly positive"


def curve_set(portal: tuple[float, ...], lora: tuple[float, ...]) -> CurveSet:
    rows = [
        row(
            run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value,
            modules="q,v", rank=8, train_flops=COST[method] * size, wall_s=COST[method] * size,
        )
        for method, values in (("portal", portal), ("lora", lora))
        for size, value in zip(SAVING_SIZES, values, strict=True)
    ]  # fmt: skip
    return known(curves_from([BASE_ROW, *rows]))


def saving_of(savings: Savings, share: float, axis: str = "size") -> Saving:
    (found,) = [each for each in savings.found if each.share == share and each.axis == axis]
    return found


def test_a_need_lies_between_sizes_along_the_logarithm_and_is_infinite_where_no_size_reaches_it() -> None:
    needs = find_need(np.array([10.0, 1000.0]), np.array([[0.2, 0.6], [0.4, 0.5]]), np.array([0.4, 0.4]))

    assert needs.tolist() == pytest.approx([100.0, 10.0])
    assert find_need(np.array([1.0, 2.0]), np.array([[0.1, 0.2]]), np.array([0.3])).tolist() == [np.inf]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.integers(0, 100))
def test_a_need_is_where_the_curve_first_reaches_the_level(percents: list[int], level: int) -> None:
    places, value = 2.0 ** np.arange(len(percents)), np.array(percents, dtype=float)
    (need,) = find_need(places, value[None], np.array([float(level)]))
    reached = np.flatnonzero(value >= level)

    if len(reached) == 0:
        assert np.isinf(need)
        return
    assert need <= places[reached[0]] * (1 + 1e-12)
    there = max(level, value[0]) if reached[0] == 0 else level
    assert np.interp(np.log(need), np.log(places), value) == pytest.approx(there)


def test_ten_times_less_data_and_three_and_a_third_times_less_computation() -> None:
    savings = find_savings(curve_set(AHEAD, BEHIND), None)
    data, computation = saving_of(savings, 0.9), saving_of(savings, 0.9, "train_flops")

    assert data.accuracy == pytest.approx(0.2 + 0.9 * 0.5)
    assert data.ratio.value == pytest.approx(10)
    assert computation.ratio.value == pytest.approx(10 / 3)
    assert data.ratio.interval.low is None


def test_what_is_reached_by_the_smallest_size_or_never_is_a_bound_or_has_no_ratio() -> None:
    early = saving_of(find_savings(curve_set((0.7, 0.7, 0.7, 0.7), (0.3, 0.4, 0.6, 0.7)), None), 0.9)
    assert (early.needed, early.ratio.bound) == (10.0, "\u2265")
    assert state_times(early.ratio).startswith("at least ")
    assert state_times(early.ratio).endswith(" times less")

    savings = find_savings(curve_set((0.3, 0.5, 0.55, 0.6), (0.3, 0.5, 0.6, 0.7)), None)
    top = saving_of(savings, 1.0)
    assert (top.needed, top.ratio.value, top.ratio.interval.reason) == (None, None, "not reached")
    assert headline_savings(savings.found)[0].share == 0.75
    (sentence,) = describe_savings(savings.found)
    assert "PorTAL q,v r8 reaches 75 % of the per-task LoRA's lift" in sentence
    assert "times more computation" in sentence

    both = saving_of(find_savings(curve_set((0.7, 0.7, 0.7, 0.7), (0.69, 0.7, 0.7, 0.7)), None), 0.5)
    assert describe_savings([both])[0].endswith("is not known: both reach it with their smallest size.")
    assert find_savings(curve_set((0.3,) * 4, (0.2,) * 4), None) == Savings((), NO_RISE)


def find_drawn_savings(lora: float, *, num_examples: int = 300, lead: float = 0.12) -> Savings:
    """Of a study whose port is ahead of the LoRA; `lora` is what the LoRA rises by with a size."""
    builder = StudyBuilder(num_examples=num_examples)
    builder.add("base", rates=(0.2,))
    for seed in range(3):
        for place, size in enumerate(SAVING_SIZES):
            builder.add("lora", seed=seed, size=size, rates=(0.2 + lora * (place + 1),))
            builder.add("portal", seed=seed, size=size, rates=(0.2 + lora * (place + 1) + lead,))
    return target_of_study(builder).savings


def test_intervals_hold_the_point_and_the_truth_and_a_lora_that_hardly_rises_gives_none() -> None:
    ratio = saving_of(find_drawn_savings(0.12), 0.75).ratio
    low, high = limits(ratio.interval)

    assert 1 < low < known(ratio.value) < high
    assert low < 10 < high
    assert find_drawn_savings(0.002, num_examples=40, lead=0.0).reason == NO_RISE


def test_a_limit_that_draws_reach_with_the_smallest_size_is_a_bound() -> None:
    ratio = saving_of(find_drawn_savings(0.12, num_examples=40, lead=0.25), 0.75).ratio

    assert (ratio.bound, ratio.high_bound) == ("", "\u2265")
    assert 0.025 < ratio.early < 1
    assert "to at least" in state_times_interval(ratio)


def test_a_level_that_some_draws_do_not_reach_leaves_the_interval_open() -> None:
    top = saving_of(find_drawn_savings(0.12, num_examples=60, lead=0.02), 1.0)
    (sentence,) = describe_savings([top])

    assert top.needed is not None
    assert 0.025 < top.ratio.missed < 0.9
    assert "of draws, which leaves the interval open" in sentence
    assert "At none of 100 % of that lift is it shown to need fewer rows per task." in sentence


PORT = MethodKey("portal", "portal", "q,v", 8, None)


def saving(share: float, low: float, high: float, **bounds: float) -> Saving:
    """A saving of data of the port at that share, its ratio with these limits."""
    return Saving(PORT, "size", share, 0.5, 10.0, 20.0, Ratio(Interval(2.0, low, high), **bounds))


def test_the_headline_is_at_the_highest_share_that_is_shown() -> None:
    for savings, share in (
        # Where an interval lies above one, the highest such share.
        ([saving(0.5, 2, 4), saving(0.75, 1.2, 3), saving(0.9, 0.8, 2), saving(1.0, 0.2, 0.9)], 0.75),
        # Where none does, the highest that nearly every draw reaches, or else the highest of all.
        ([saving(0.75, 0.9, 3), saving(0.9, 0.5, 3, missed=0.01), saving(1.0, 0, 3, missed=0.3)], 0.9),
        ([saving(0.75, 0, 3, missed=0.1), saving(0.9, 0, 3, missed=0.2)], 0.9),
    ):
        assert [each.share for each in headline_savings(savings)] == [share]


def test_an_interval_whose_limit_is_a_bound_shows_nothing() -> None:
    # In these draws the LoRA begins above the accuracy, so that its need is at most its smallest size.
    assert not saving(0.5, 1.5, 4, lora_early=0.1).ratio.is_above_one
    assert saving(0.5, 1.5, 4, early=0.1).ratio.is_above_one
    assert saving(0.5, 0.2, 0.8).ratio.is_below_one
    assert not saving(0.5, 0.2, 0.8, early=0.1).ratio.is_below_one


def test_sizes_from_one_row_on_and_other_sizes_for_each_method_have_savings() -> None:
    values = {"portal": {1: 0.5, 4: 0.6, 16: 0.7}, "lora": {2: 0.3, 8: 0.5, 32: 0.7}}
    rows = [
        row(run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value)
        for method, by_size in values.items()
        for size, value in by_size.items()
    ]
    savings = find_savings(known(curves_from([BASE_ROW, *rows])), None)
    half, most = saving_of(savings, 0.5), saving_of(savings, 1.0)

    # At .45 the LoRA is three quarters of the way from 2 to 8 rows, the port above it with its first row.
    assert half.lora_needs == pytest.approx(2 * 4**0.75)
    assert (half.needed, half.ratio.bound) == (1.0, "\u2265")
    assert most.ratio.value == pytest.approx(32 / 16)


def test_measured_times_that_fall_with_the_size_are_made_to_rise() -> None:
    curves = curve_set(AHEAD, BEHIND)
    slow = replace(curves.curves[0].costs[0], wall_s=1e6)
    first = replace(curves.curves[0], costs=(slow, *curves.curves[0].costs[1:]))
    savings = find_savings(replace(curves, curves=(first, *curves.curves[1:])), None)

    assert all(np.isfinite(each.lora_needs) for each in savings.found)
    assert {each.axis for each in savings.found} == {"size", "train_flops", "wall_s"}


def test_ratios_are_said_as_times_less_or_more_with_what_bounds_them() -> None:
    assert state_times(Ratio(Interval(1.001, 0.5, 2.0))) == "as much"
    assert state_times(Ratio(Interval(0.5, 0.4, 0.6))) == "2 times more"
    wide = Interval(4.0, 3.0, 5.0)
    for ratio, text in (
        (Ratio(Interval(0.5, 0.4, 0.8)), "95 % interval 1.25 to 2.5 times more"),
        (Ratio(Interval(1.2, 0.8, 2.0)), "95 % interval 1.25 times more to 2 times less"),
        (Ratio(wide, "\u2265"), "95 % limit: at least 3 times"),
        (Ratio(wide, early=0.1), "95 % interval of the ratio 3 to at least 5"),
        (Ratio(wide, lora_early=0.1), "95 % interval of the ratio at most 3 to 5"),
    ):
        assert state_times_interval(ratio) == text


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=7))
def test_curves_are_made_to_rise_by_pooling_what_falls(values: list[int]) -> None:
    (rising,) = make_rising(np.array([values], dtype=float))
    blocks: list[list[float]] = []  # pool adjacent violators, one at a time
    for value in values:
        blocks.append([float(value)])
        while len(blocks) > 1 and np.mean(blocks[-2]) >= np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]

    assert rising.tolist() == pytest.approx([np.mean(block) for block in blocks for _ in block])


def test_the_log_loss_of_every_size_is_compared_with_that_of_the_lora_of_that_size() -> None:
    builder = StudyBuilder(num_examples=60)
    builder.add("base", rates=(0.3,))
    for seed in range(2):
        for size, port, lora in ((2, 0.6, 0.4), (8, 0.7, 0.7), (32, 0.7, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("lora", seed=seed, size=size, rates=(lora,))
        builder.add("portal", seed=seed, size=16, rates=(0.7,))

    target = target_of_study(builder)

    losses = {(each.cell.method, each.cell.size): each for each in target.losses}
    assert limits(losses["portal", 2].difference)[1] < 0 < limits(losses["portal", 32].difference)[0]
    assert not known(losses["portal", 8].difference).excludes_zero
    assert losses["portal", 16].difference is losses["lora", 2].difference is None
    for loss in target.losses:
        low, high = limits(loss.interval)
        assert known(loss.interval).value == pytest.approx(loss.log_loss.mean, abs=1e-4)
        assert low < loss.log_loss.known < high
    for loss in find_losses(target.kept, None):  # without predictions there are means alone
        assert (loss.interval, loss.difference) == (None, None)
        assert np.isfinite(loss.log_loss.known)
