"""Curves, what equal accuracy needs by hand, with bounds and intervals, and log-losses at every size."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.report.sentences import describe_savings, state_times, state_times_interval
from analysis.stats.aggregate import KEPT, compare
from analysis.stats.bootstrap import LOG_LOSS, Interval, bootstrap_over_tasks, choose_runs
from analysis.stats.curves import (
    CurveSet,
    Ratio,
    Saving,
    Savings,
    SizedLoss,
    build_curves,
    find_losses,
    find_need,
    find_savings,
    first_reaching,
    headline_savings,
    make_rising,
    rolling_mean,
)
from analysis.stats.result_table import Cell, gather_runs
from tests.support.result_tables import StudyBuilder, row, to_table

SIZES = (8, 16, 32, 64, 128, 256, 512)


def curves_of(accuracies: dict[str, tuple[float, ...]], metric: str = "acc") -> CurveSet | None:
    rows = [row(run="base", acc_norm=0.2, log_loss=2.0)]
    for method, values in accuracies.items():
        rows += [
            row(
                run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value,
                log_loss=1 - value,
            )
            for size, value in zip(SIZES, values, strict=False)
        ]  # fmt: skip
    return build_curves(compare(gather_runs(to_table(rows)), "big", KEPT), metric)


def test_the_rolling_mean_is_centred_and_shorter_at_the_ends() -> None:
    assert rolling_mean([1.0, 2.0, 6.0, 7.0]) == (1.5, 3.0, 5.0, 6.5)


def test_a_star_marks_the_first_size_that_reaches_the_loras_peak() -> None:
    curves = curves_of({"lora": (0.2, 0.3, 0.4, 0.5, 0.6), "portal": (0.3, 0.6, 0.9, 0.9, 0.9)})
    assert curves is not None
    assert curves.peak == pytest.approx(0.6)
    assert {curve.variant.method: curve.star for curve in curves.curves} == {"portal": 16, "lora": 128}


def test_only_curves_of_many_sizes_are_smoothed() -> None:
    few, many = ((*range(10, 10 + number),) for number in (5, 7))
    short, long = (curves_of({"lora": tuple(value / 100 for value in values)}) for values in (few, many))
    assert short is not None
    assert long is not None
    assert short.curves[0].rolling == tuple(point.known for point in short.curves[0].points)
    # The rolling curve ends at the mean of its last two sizes.
    assert long.peak == pytest.approx((0.15 + 0.16) / 2)
    assert long.curves[0].star == 512


def test_stars_of_log_loss_look_for_the_lowest_value() -> None:
    curves = curves_of({"lora": (0.2, 0.3, 0.4, 0.5, 0.6), "portal": (0.3, 0.6, 0.9, 0.9, 0.9)}, "log_loss")
    assert curves is not None
    assert curves.peak == pytest.approx(0.4)
    assert {curve.variant.method: curve.star for curve in curves.curves} == {"portal": 16, "lora": 128}


def test_a_method_that_never_reaches_the_peak_has_no_star() -> None:
    assert first_reaching(SIZES, (0.1,) * 7, 0.5, higher_is_better=True) is None


def test_curves_have_the_value_of_the_frozen_base() -> None:
    curves = curves_of({"lora": (0.2, 0.3, 0.4)})
    assert curves is not None
    assert curves.frozen_base == pytest.approx(0.2)


def test_one_size_is_no_curve_and_two_are_where_there_is_another_curve() -> None:
    assert curves_of({"lora": (0.2,), "portal": (0.3,)}) is None
    assert curves_of({"lora": (0.2, 0.3)}) is None
    two = curves_of({"lora": (0.2, 0.3), "portal": (0.3, 0.4)})
    assert two is not None
    assert [curve.rolling for curve in two.curves] == [(0.3, 0.4), (0.2, 0.3)]


def test_without_a_lora_curve_there_are_no_stars() -> None:
    curves = curves_of({"portal": (0.2, 0.3, 0.4)})
    assert curves is not None
    assert [curve.star for curve in curves.curves] == [None]


def test_curves_read_the_epoch_that_a_run_keeps_and_join_the_main_run(demo_builder: StudyBuilder) -> None:
    study = gather_runs(demo_builder.results_table())
    curves = build_curves(compare(study, "mini-qwen3-m", KEPT), "acc")
    assert curves is not None
    assert curves.sizes == (8, 16, 32, 64, 128, 256)
    assert all(point.n == 3 for curve in curves.curves for point in curve.points)


def test_a_curve_stands_along_its_costs_where_they_are_known() -> None:
    costs = {8: 10.0, 16: 20.0, 32: 40.0}

    def build(**changed: float | None) -> CurveSet:
        rows = [
            row(
                run=f"portal{size}", method="portal", size=size, seed=0, epoch=5, train_flops=cost,
                wall_s=changed.get(str(size), cost),
            )
            for size, cost in costs.items()
        ]  # fmt: skip
        curves = build_curves(compare(gather_runs(to_table(rows)), "big", KEPT), "acc")
        assert curves is not None
        return curves

    assert build().curves[0].along("train_flops") == (10.0, 20.0, 40.0)
    assert build().curves[0].along("size") == (8.0, 16.0, 32.0)
    assert build(**{"16": 5.0}).curves[0].along("wall_s") == (10.0, 5.0, 40.0)
    for changed in ({"16": None}, {"8": 0.0}):
        assert build(**changed).on_axis("wall_s") is None
        assert build(**changed).on_axis("train_flops") is not None


def test_the_rows_of_all_tasks_differ_where_a_port_sees_some_tasks_or_a_run_uses_validation_rows() -> None:
    def build(without: str, *, keeps_best: bool = False) -> CurveSet:
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
        curves = build_curves(compare(gather_runs(to_table(rows)), "big", KEPT), "acc")
        assert curves is not None
        return curves

    def rows_of(curves: CurveSet) -> dict[str, tuple[float, ...] | None]:
        return {curve.variant.method: curve.along("rows") for curve in curves.curves}

    assert rows_of(build("b")) == {"lora": (4, 8), "portal": (2, 4)}
    assert build("b").rows_differ
    assert rows_of(build("")) == {"lora": (4, 8), "portal": (4, 8)}
    assert not build("").rows_differ
    assert rows_of(build("b", keeps_best=True)) == {"lora": (4 + 32, 8 + 32), "portal": (2 + 16, 4 + 16)}


SAVING_SIZES = (10, 100, 1000, 10_000)
COST = {"portal": 3.0, "lora": 1.0}
"""Operations and seconds per row."""


def curve_set(portal: tuple[float, ...], lora: tuple[float, ...], base: float = 0.2) -> CurveSet:
    rows = [row(run="base", acc_norm=base)]
    for method, values in (("portal", portal), ("lora", lora)):
        rows += [
            row(
                run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value,
                modules="q,v", rank=8, train_flops=COST[method] * size, wall_s=COST[method] * size,
            )
            for size, value in zip(SAVING_SIZES, values, strict=True)
        ]  # fmt: skip
    curves = build_curves(compare(gather_runs(to_table(rows)), "big", KEPT), "acc")
    assert curves is not None
    return curves


def saving_of(savings: Savings, share: float, axis: str = "size") -> Saving:
    (found,) = [each for each in savings.found if each.share == share and each.axis == axis]
    return found


def test_a_need_lies_between_sizes_along_the_logarithm() -> None:
    needs = find_need(np.array([10.0, 1000.0]), np.array([[0.2, 0.6], [0.4, 0.5]]), np.array([0.4, 0.4]))
    assert needs.tolist() == pytest.approx([100.0, 10.0])


def test_a_level_that_is_never_reached_needs_infinitely_much() -> None:
    assert find_need(np.array([1.0, 2.0]), np.array([[0.1, 0.2]]), np.array([0.3])).tolist() == [np.inf]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=2, max_size=8), st.integers(0, 100))
def test_a_need_is_where_the_curve_first_reaches_the_level(percents: list[int], level: int) -> None:
    places = 2.0 ** np.arange(len(percents))
    value = np.array(percents, dtype=float)
    (need,) = find_need(places, value[None], np.array([float(level)]))
    reached = np.flatnonzero(value >= level)
    if len(reached) == 0:
        assert np.isinf(need)
        return
    assert need <= places[reached[0]] * (1 + 1e-12)
    assert np.interp(np.log(need), np.log(places), value) == pytest.approx(
        max(level, value[0]) if reached[0] == 0 else level
    )


def test_ten_times_less_data_and_three_and_a_third_times_less_computation() -> None:
    # The port is one size ahead of the LoRA everywhere.
    curves = curve_set((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7))
    savings = find_savings(curves, None)
    data, computation = saving_of(savings, 0.9), saving_of(savings, 0.9, "train_flops")
    assert data.accuracy == pytest.approx(0.2 + 0.9 * 0.5)
    assert data.ratio.value == pytest.approx(10)
    assert computation.ratio.value == pytest.approx((data.ratio.value or 0) / 3)
    assert data.ratio.interval.low is None


def test_a_curve_that_begins_above_the_level_saves_at_least_so_much() -> None:
    savings = find_savings(curve_set((0.7, 0.7, 0.7, 0.7), (0.3, 0.4, 0.6, 0.7)), None)
    early = saving_of(savings, 0.9)
    assert (early.needed, early.ratio.bound) == (10.0, "\u2265")
    assert state_times(early.ratio).startswith("at least ")
    assert state_times(early.ratio).endswith(" times less")


def test_a_level_that_the_method_does_not_reach_has_no_ratio_and_the_headline_takes_the_next() -> None:
    savings = find_savings(curve_set((0.3, 0.5, 0.55, 0.6), (0.3, 0.5, 0.6, 0.7)), None)
    top = saving_of(savings, 1.0)
    assert top.needed is None
    assert top.ratio.value is None
    assert top.ratio.interval.reason == "not reached"
    (headline, *_) = headline_savings(savings.found)
    assert headline.share == 0.75
    (sentence,) = describe_savings(savings.found)
    assert "PorTAL q,v r8 reaches 75 % of the per-task LoRA's lift" in sentence
    assert "times more computation" in sentence


def test_both_at_their_smallest_size_is_no_ratio() -> None:
    savings = find_savings(curve_set((0.7, 0.7, 0.7, 0.7), (0.69, 0.7, 0.7, 0.7)), None)
    assert saving_of(savings, 0.5).ratio.interval.reason == "both reach it with their smallest size"


def test_no_lift_of_the_lora_is_no_saving() -> None:
    savings = find_savings(curve_set((0.3, 0.3, 0.3, 0.3), (0.2, 0.2, 0.2, 0.2)), None)
    assert savings.found == ()
    assert savings.reason == "the per-task LoRA's rise over the base is not clearly positive"


def sized_study(lora: float, *, num_examples: int = 300, lead: float = 0.12) -> tuple[StudyBuilder, tuple]:
    """A study whose port is ahead of the LoRA; `lora` is what the LoRA rises by with a size."""
    builder = StudyBuilder(num_examples=num_examples)
    builder.add("base", rates=(0.2,))
    for seed in range(3):
        for place, size in enumerate(SAVING_SIZES):
            builder.add("lora", seed=seed, size=size, rates=(0.2 + lora * (place + 1),))
            builder.add("portal", seed=seed, size=size, rates=(0.2 + lora * (place + 1) + lead,))
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big", KEPT)
    curves = build_curves(comparison, "acc")
    assert curves is not None
    assert comparison.frozen_base is not None
    cells = [Cell("big", curve.variant, size) for curve in curves.curves for size in curve.sizes]
    chosen = choose_runs(study, [comparison.frozen_base.cell, *cells], KEPT)
    bootstrap = bootstrap_over_tasks(chosen, chosen.answers(builder.predictions_table()), num_draws=2000)
    return builder, (curves, bootstrap)


def test_intervals_hold_the_point_and_the_truth() -> None:
    _, found = sized_study(0.12)
    ratio = saving_of(find_savings(*found), 0.75).ratio
    assert ratio.value is not None
    assert ratio.interval.low is not None
    assert ratio.interval.high is not None
    assert ratio.interval.low < ratio.value < ratio.interval.high
    assert ratio.interval.low < 10 < ratio.interval.high
    assert ratio.interval.low > 1


def test_a_lora_that_hardly_rises_gives_no_savings() -> None:
    _, found = sized_study(0.002, num_examples=40, lead=0.0)
    assert find_savings(*found).reason == "the per-task LoRA's rise over the base is not clearly positive"


def test_a_limit_that_draws_reach_with_the_smallest_size_is_a_bound() -> None:
    _, found = sized_study(0.12, num_examples=40, lead=0.25)
    ratio = saving_of(find_savings(*found), 0.75).ratio
    assert ratio.bound == ""
    assert 0.025 < ratio.early < 1
    assert ratio.high_bound == "\u2265"
    assert "to at least" in state_times_interval(ratio)


def test_a_level_that_some_draws_do_not_reach_leaves_the_interval_open() -> None:
    _, found = sized_study(0.12, num_examples=60, lead=0.02)
    top = saving_of(find_savings(*found), 1.0)
    assert top.needed is not None
    assert 0.025 < top.ratio.missed < 0.9
    assert "of draws, which leaves the interval open" in describe_savings([top])[0]
    assert (
        "At none of 100 % of that lift is it shown to need fewer rows per task." in describe_savings([top])[0]
    )


def saving(
    share: float,
    low: float | None,
    high: float | None,
    *,
    value: float = 2.0,
    axis: str = "size",
    **bounds: float,
) -> Saving:
    """A saving of the port at that share, its ratio with these limits."""
    variant = curve_set((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7)).curves[0].variant
    return Saving(variant, axis, share, 0.5, 10.0, 10 * value, Ratio(Interval(value, low, high), **bounds))


def test_the_headline_is_at_the_highest_share_whose_interval_lies_above_one() -> None:
    (found,) = headline_savings(
        [saving(0.5, 2, 4), saving(0.75, 1.2, 3), saving(0.9, 0.8, 2), saving(1.0, 0.2, 0.9)]
    )

    assert found.share == 0.75


def test_where_no_interval_lies_above_one_the_headline_is_at_a_share_that_nearly_every_draw_reaches() -> None:
    shares = [saving(0.75, 0.9, 3), saving(0.9, 0.5, 3, missed=0.01), saving(1.0, 0, 3, missed=0.3)]

    assert headline_savings(shares)[0].share == 0.9
    assert headline_savings([saving(0.75, 0, 3, missed=0.1), saving(0.9, 0, 3, missed=0.2)])[0].share == 0.9


def test_an_interval_whose_lower_limit_is_a_bound_shows_nothing() -> None:
    # In these draws the LoRA begins above the accuracy, so that its need is at most its smallest size.
    assert not saving(0.5, 1.5, 4, lora_early=0.1).ratio.is_above_one
    assert saving(0.5, 1.5, 4, early=0.1).ratio.is_above_one
    assert saving(0.5, 0.2, 0.8).ratio.is_below_one
    assert not saving(0.5, 0.2, 0.8, early=0.1).ratio.is_below_one


def test_sizes_from_one_row_on_and_other_sizes_for_each_method_have_savings() -> None:
    values = {"portal": {1: 0.5, 4: 0.6, 16: 0.7}, "lora": {2: 0.3, 8: 0.5, 32: 0.7}}
    rows = [row(run="base", acc_norm=0.2)]
    for method, by_size in values.items():
        rows += [
            row(run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value)
            for size, value in by_size.items()
        ]
    curves = build_curves(compare(gather_runs(to_table(rows)), "big", KEPT), "acc")
    assert curves is not None

    savings = find_savings(curves, None)

    half, most = saving_of(savings, 0.5), saving_of(savings, 1.0)
    # At .45 the LoRA is three quarters of the way from 2 to 8 rows, the port above it with its first row.
    assert half.lora_needs == pytest.approx(2 * 4**0.75)
    assert (half.needed, half.ratio.bound) == (1.0, "\u2265")
    assert most.ratio.value == pytest.approx(32 / 16)


def test_measured_times_that_fall_with_the_size_are_made_to_rise() -> None:
    curves = curve_set((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7))
    slow = replace(curves.curves[0].costs[0], wall_s=1e6)
    first = replace(curves.curves[0], costs=(slow, *curves.curves[0].costs[1:]))
    savings = find_savings(replace(curves, curves=(first, *curves.curves[1:])), None)
    assert all(np.isfinite(each.lora_needs) for each in savings.found)
    assert {each.axis for each in savings.found} == {"size", "train_flops", "wall_s"}


def test_as_much_is_said_of_a_ratio_of_one() -> None:
    assert state_times(Ratio(Interval(1.001, 0.5, 2.0))) == "as much"
    assert state_times(Ratio(Interval(0.5, 0.4, 0.6))) == "2 times more"
    assert state_times_interval(Ratio(Interval(0.5, 0.4, 0.8))) == "95 % interval 1.25 to 2.5 times more"
    assert state_times_interval(Ratio(Interval(1.2, 0.8, 2.0))) == (
        "95 % interval 1.25 times more to 2 times less"
    )
    assert state_times_interval(Ratio(Interval(4.0, 3.0, 5.0), "\u2265")) == "95 % limit: at least 3 times"
    assert state_times_interval(Ratio(Interval(4.0, 3.0, 5.0), early=0.1)) == (
        "95 % interval of the ratio 3 to at least 5"
    )
    assert state_times_interval(Ratio(Interval(4.0, 3.0, 5.0), lora_early=0.1)) == (
        "95 % interval of the ratio at most 3 to 5"
    )


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


def losses_of(builder: StudyBuilder) -> dict[tuple[str, int], SizedLoss]:
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big", KEPT)
    chosen = choose_runs(study, [each.cell for each in comparison.summaries], KEPT)
    bootstrap = bootstrap_over_tasks(
        chosen, chosen.answers(builder.predictions_table()), LOG_LOSS, num_draws=500
    )
    return {(loss.cell.method, loss.cell.size or 0): loss for loss in find_losses(comparison, bootstrap)}


@pytest.fixture(scope="module")
def losses() -> dict[tuple[str, int], SizedLoss]:
    builder = StudyBuilder(num_examples=60)
    builder.add("base", rates=(0.3,))
    for seed in range(2):
        for size, port, lora in ((2, 0.6, 0.4), (8, 0.7, 0.7), (32, 0.7, 0.9)):
            builder.add("portal", seed=seed, size=size, rates=(port,))
            builder.add("lora", seed=seed, size=size, rates=(lora,))
        builder.add("portal", seed=seed, size=16, rates=(0.7,))
    return losses_of(builder)


def test_every_size_is_compared_with_the_lora_of_that_size(
    losses: dict[tuple[str, int], SizedLoss],
) -> None:
    few, many = losses["portal", 2].difference, losses["portal", 32].difference
    assert few is not None
    assert few.high is not None
    assert few.high < 0
    assert many is not None
    assert many.low is not None
    assert many.low > 0
    middle = losses["portal", 8].difference
    assert middle is not None
    assert not middle.excludes_zero


def test_a_size_without_a_lora_and_the_lora_itself_have_no_difference(
    losses: dict[tuple[str, int], SizedLoss],
) -> None:
    assert losses["portal", 16].difference is None
    assert losses["lora", 2].difference is None
    assert losses["portal", 16].interval is not None


def test_the_bootstraps_value_is_the_tables(losses: dict[tuple[str, int], SizedLoss]) -> None:
    for loss in losses.values():
        assert loss.interval is not None
        assert loss.interval.value == pytest.approx(loss.log_loss.mean, abs=1e-4)
        assert loss.interval.low is not None
        assert loss.interval.high is not None
        assert loss.interval.low < loss.log_loss.known < loss.interval.high


def test_without_predictions_there_are_means_alone() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))
    comparison = compare(gather_runs(builder.results_table()), "big", KEPT)

    (loss,) = find_losses(comparison, None)

    assert (loss.interval, loss.difference) == (None, None)
    assert np.isfinite(loss.log_loss.known)
