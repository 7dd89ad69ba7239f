"""What equal accuracy needs: interpolation by hand, bounds, intervals, and what is not known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.report.saving_sentences import describe_savings, state_times, state_times_interval
from analysis.stats.aggregate import compare
from analysis.stats.bootstrap import Interval, bootstrap_over_tasks, choose_runs
from analysis.stats.curves import CurveSet, build_curves
from analysis.stats.epoch_selection import KEPT
from analysis.stats.result_table import Cell, gather_runs
from analysis.stats.savings import (
    Ratio,
    Saving,
    Savings,
    find_need,
    find_savings,
    headline_savings,
    make_rising,
)
from tests.support.result_tables import StudyBuilder, row, to_table

SIZES = (10, 100, 1000, 10_000)
COST = {"portal": 3.0, "lora": 1.0}
"""Operations and seconds per row."""


def curves_of(portal: tuple[float, ...], lora: tuple[float, ...], base: float = 0.2) -> CurveSet:
    rows = [row(run="base", acc_norm=base)]
    for method, values in (("portal", portal), ("lora", lora)):
        rows += [
            row(
                run=f"{method}{size}", method=method, size=size, seed=0, epoch=5, acc_norm=value,
                modules="q,v", rank=8, train_flops=COST[method] * size, wall_s=COST[method] * size,
            )
            for size, value in zip(SIZES, values, strict=True)
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
    curves = curves_of((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7))
    savings = find_savings(curves, None)
    data, computation = saving_of(savings, 0.9), saving_of(savings, 0.9, "train_flops")
    assert data.accuracy == pytest.approx(0.2 + 0.9 * 0.5)
    assert data.ratio.value == pytest.approx(10)
    assert computation.ratio.value == pytest.approx((data.ratio.value or 0) / 3)
    assert data.ratio.interval.low is None


def test_a_curve_that_begins_above_the_level_saves_at_least_so_much() -> None:
    savings = find_savings(curves_of((0.7, 0.7, 0.7, 0.7), (0.3, 0.4, 0.6, 0.7)), None)
    early = saving_of(savings, 0.9)
    assert (early.needed, early.ratio.bound) == (10.0, "\u2265")
    assert state_times(early.ratio).startswith("at least ")
    assert state_times(early.ratio).endswith(" times less")


def test_a_level_that_the_method_does_not_reach_has_no_ratio_and_the_headline_takes_the_next() -> None:
    savings = find_savings(curves_of((0.3, 0.5, 0.55, 0.6), (0.3, 0.5, 0.6, 0.7)), None)
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
    savings = find_savings(curves_of((0.7, 0.7, 0.7, 0.7), (0.69, 0.7, 0.7, 0.7)), None)
    assert saving_of(savings, 0.5).ratio.interval.reason == "both reach it with their smallest size"


def test_no_lift_of_the_lora_is_no_saving() -> None:
    savings = find_savings(curves_of((0.3, 0.3, 0.3, 0.3), (0.2, 0.2, 0.2, 0.2)), None)
    assert savings.found == ()
    assert savings.reason == "the per-task LoRA's rise over the base is not clearly positive"


def sized_study(lora: float, *, num_examples: int = 300, lead: float = 0.12) -> tuple[StudyBuilder, tuple]:
    """A study whose port is ahead of the LoRA; `lora` is what the LoRA rises by with a size."""
    builder = StudyBuilder(num_examples=num_examples)
    builder.add("base", rates=(0.2,))
    for seed in range(3):
        for place, size in enumerate(SIZES):
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
    variant = curves_of((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7)).curves[0].variant
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
    curves = curves_of((0.5, 0.6, 0.7, 0.8), (0.4, 0.5, 0.6, 0.7))
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
