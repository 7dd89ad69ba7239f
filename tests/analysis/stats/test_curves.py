"""Data-efficiency curves: rolling means, stars, rows of all tasks, and what is not a curve."""

import pytest

from analysis.stats.aggregate import compare
from analysis.stats.curves import CurveSet, build_curves, first_reaching, rolling_mean
from analysis.stats.epoch_selection import KEPT
from analysis.stats.result_table import gather_runs
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
