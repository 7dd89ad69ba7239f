"""Figures: what is drawn of which results, with labels that do not touch and files that repeat."""

from dataclasses import replace
from itertools import product

import pytest
from matplotlib.axes import Axes

from analysis.figures.accuracy import draw_kinds, draw_methods, draw_ranks, draw_task_parts, draw_tasks
from analysis.figures.curves import draw_curves
from analysis.figures.figure import Drawing, legend_columns, mark_variants
from analysis.figures.latents import draw_latents
from analysis.figures.without_rows import draw_over_rows, draw_over_tasks
from analysis.stats.aggregate import KEPT, Comparison, compare
from analysis.stats.curves import build_curves
from analysis.stats.findings import Target
from analysis.stats.latents import map_latents
from analysis.stats.result_table import MethodKey
from tests.support.few_rows import HALVES, add_split, few_rows_study, target_of_study
from tests.support.few_rows import SIZES as FEW
from tests.support.figures import assert_no_tick_labels_touch
from tests.support.result_tables import (
    StudyBuilder,
    known,
    row,
    study_of,
    study_of_kinds,
    study_of_ranks,
    target_of,
)

SIZES = (8, 16, 32, 64, 125, 250, 500, 1000, 1500, 2000)
"""Rows per task of the paper's study of data efficiency."""


def with_ranks(ranks: tuple[int, ...]) -> Comparison:
    return target_of(study_of_ranks({rank: 0.5 + rank / 100 for rank in ranks}).rows).comparison


@pytest.fixture(scope="module")
def sized() -> Comparison:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    for place, size in enumerate(SIZES):
        for method, lead in (("lora", 0.0), ("portal", 0.1)):
            builder.add(method, seed=0, size=size, rates=(0.35 + lead + 0.04 * place,))
    return compare(builder.study(), "big", KEPT)


def lines_with(axes: Axes, marker: str) -> int:
    return sum(line.get_marker() == marker for line in axes.get_lines())


def drawn(drawing: Drawing | None) -> Drawing:
    """The figure, which is there with labels apart."""
    assert_no_tick_labels_touch(known(drawing).figure)
    return known(drawing)


def legend_of(drawing: Drawing) -> list[str]:
    (legend,) = drawing.figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_three_ranks_of_a_method_are_a_line_and_two_are_none() -> None:
    drawing = drawn(draw_ranks(with_ranks((2, 4, 8, 16)), "big"))
    (axes,) = drawing.figure.axes

    assert draw_ranks(with_ranks((4, 8)), "big") is None
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8", "16"]
    assert "PorTAL q,v, rank 16: 0." in "\n".join(drawing.tips.values())


def test_a_curve_has_a_mark_for_every_size_a_star_and_labels_apart(sized: Comparison) -> None:
    for metric, axis in product(("acc", "log_loss"), ("size", "train_flops", "wall_s")):
        drawing = drawn(draw_curves(known(build_curves(sized, metric)), axis, "big"))
        (axes,) = drawing.figure.axes
        assert [lines_with(axes, marker) for marker in "os*"] == [len(SIZES), len(SIZES), 2]
        assert len(axes.get_xticks()) >= 3


def test_methods_and_tasks_are_drawn_and_tasks_with_one_set_of_answers_show_the_majority(
    sized: Comparison,
) -> None:
    drawn(draw_methods(sized, "big"))
    tips = drawn(draw_tasks(sized, "big")).tips.values()

    assert [tip for tip in tips if "majority" in tip] == ["yes-no, majority answer: 0.525"]
    assert draw_kinds(sized, "big") is None  # it has no kinds


def test_nothing_is_drawn_where_no_line_has_a_score() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.5, 0.6))
    comparison = compare(study_of([line for line in builder.rows if line["split"] == "test"]), "big")

    assert draw_methods(comparison, "big") is draw_tasks(comparison, "big") is None


def test_a_curve_without_costs_is_left_out_by_name(sized: Comparison) -> None:
    curves = known(build_curves(sized, "acc"))
    first, *others = curves.curves
    unknown = replace(first, costs=tuple(replace(cost, wall_s=None) for cost in first.costs))

    drawing = known(draw_curves(replace(curves, curves=(unknown, *others)), "wall_s", "big"))

    assert "Not drawn, for want of their cost: PorTAL." in drawing.caption
    assert draw_curves(replace(curves, curves=(unknown,)), "wall_s", "big") is None


def comparison_of_kinds(num_kinds: int, tasks_per_kind: int, num_variants: int = 0) -> Comparison:
    builder, kinds = study_of_kinds(num_kinds, tasks_per_kind)
    for rank in range(num_variants):
        builder.add("portal", label=f"portal-{rank}", seed=0, size=8, rates=(0.4 + rank / 10,))
    return compare(replace(builder.study(), kinds=kinds), "big")


def rows_of(drawing: Drawing) -> list[str]:
    (axes,) = drawing.figure.axes
    return [label.get_text() for label in axes.get_yticklabels()][::-1]


def test_a_hundred_and_twenty_tasks_are_a_row_per_kind_and_figures_of_like_height_on_one_scale() -> None:
    comparison = comparison_of_kinds(18, 7)
    kinds, parts = drawn(draw_kinds(comparison, "big")), draw_task_parts(comparison, "big")

    assert rows_of(kinds) == [f"kind{kind:02d} (7)" for kind in range(18)]
    assert "kind03 (7), PorTAL: 0." in "\n".join(kinds.tips.values())
    assert "18 kinds of task, 3 methods" in kinds.alt
    rows = [rows_of(drawn(drawing)) for drawing in parts]
    assert [len(each) for each in rows] == [21] * 6
    in_order = [task for tasks in comparison.kinds.values() for task in tasks]  # each kind whole
    assert [task for each in rows for task in each] == in_order
    assert {drawing.name for drawing in parts} == {f"tasks-big-{number}" for number in range(1, 7)}
    assert len({drawing.figure.axes[0].get_xlim() for drawing in parts}) == 1
    for drawing in (kinds, *parts):
        assert drawing.figure.get_figheight() < 2 * drawing.figure.get_figwidth()


def test_a_kind_of_more_tasks_than_a_figure_has_rows_is_divided_evenly() -> None:
    parts = draw_task_parts(comparison_of_kinds(1, 50), "big")

    assert [len(rows_of(drawing)) for drawing in parts] == [17, 17, 16]


def test_of_many_variants_a_figure_with_kinds_shows_one_per_method() -> None:
    drawing = known(draw_kinds(comparison_of_kinds(2, 3, num_variants=4), "big"))

    assert legend_of(drawing) == ["frozen base", "PorTAL", "per-task LoRA"]


def test_ticks_of_a_narrow_span_of_accuracies_are_apart() -> None:
    rows = [
        row(run=f"{acc}", method="lora", label=f"lora-{acc}", seed=0, size=8, epoch=1, acc_norm=acc)
        for acc in (0.28, 0.283)
    ]

    drawn(draw_methods(compare(study_of(rows), "big"), "big"))


@pytest.fixture(scope="module")
def without_rows() -> Target:
    """A port on half of its tasks with both controls, one on a single task, and one on all."""
    builder = few_rows_study(port=0.7, shared=0.3, mean=0.5, num_examples=20)
    for seed, without in HALVES.items():
        most = tuple(task for task in builder.tasks if task != without[0])
        for size in FEW:
            add_split(builder, "portal", seed, size, most, unseen=0.5, seen=0.6, label="one")
            add_split(builder, "portal", seed, size, (), unseen=0.5, seen=0.8, label="all")
    return target_of_study(builder)


def test_tasks_without_a_row_are_drawn_over_rows_in_a_panel_for_each_number_of_tasks(
    without_rows: Target,
) -> None:
    drawing = drawn(draw_over_rows(without_rows))
    first, second = drawing.figure.axes

    titles = [axes.get_title() for axes in (first, second)]
    assert titles == ["4 of 8 tasks calibrated", "1 of 8 tasks calibrated"]
    # The port on both groups of tasks, and each control on tasks without a row.
    assert [lines_with(first, marker) for marker in "oXP"] == [2 * len(FEW), len(FEW), len(FEW)]
    assert [lines_with(second, marker) for marker in "oXP"] == [2 * len(FEW), 0, 0]
    assert legend_of(drawing) == [
        "PorTAL", "PorTAL, calibrated tasks", "one LoRA for all tasks", "port with the mean latent",
        "frozen base",
    ]  # fmt: skip
    tips = [tip for tip in drawing.tips.values() if "16 rows of each of 4 tasks: 0.7" in tip]
    assert any("95 % interval" in tip for tip in tips)


def test_they_are_drawn_over_calibrated_tasks_in_a_panel_for_each_number_of_rows(
    without_rows: Target,
) -> None:
    panels = [axes for axes in drawn(draw_over_tasks(without_rows)).figure.axes if axes.get_visible()]

    assert [axes.get_title() for axes in panels] == ["1 row per task", "4 rows per task", "16 rows per task"]
    # The port without a row of one to seven tasks and calibrated on one to all, and each control once.
    assert [lines_with(panels[0], marker) for marker in "oXP"] == [2 + 3, 1, 1]


def test_where_every_task_gave_rows_neither_is_drawn() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] in ("base", "lora")]
    target = target_of_study(builder, with_predictions=False)

    assert (draw_over_rows(target), draw_over_tasks(target)) == (None, None)


def test_curves_have_their_intervals_as_bands_where_there_are_predictions(without_rows: Target) -> None:
    curves = without_rows.curves["log_loss"]
    drawing = known(draw_curves(curves, "size", "big"))

    assert "mean over seeds and its 95 % interval" in drawing.caption
    bands = [
        {round(float(height), 9) for _, height in band.get_paths()[0].vertices}
        for band in drawing.figure.axes[0].collections
    ]
    assert bands == [
        {round(end, 9) for interval in curve.point_intervals for end in (interval.low, interval.high)}
        for curve in curves.curves
    ]


def test_the_rows_of_all_tasks_are_an_axis_where_they_say_something_new(without_rows: Target) -> None:
    curves = without_rows.curves["acc"]
    same = replace(curves, curves=tuple(each for each in curves.curves if each.variant.method == "lora"))

    assert draw_curves(curves, "rows", "big") is not None
    assert draw_curves(same, "rows", "big") is None


def test_a_crowded_figure_of_curves_leaves_out_controls_and_says_so(without_rows: Target) -> None:
    curves = without_rows.curves["acc"]
    port = next(each for each in curves.curves if each.variant.method == "portal")
    more = tuple(replace(port, variant=port.variant._replace(name=f"more{number}")) for number in range(3))
    crowded = replace(curves, curves=(*curves.curves, *more))

    plain, full = (known(draw_curves(each, "size", "big")) for each in (curves, crowded))

    assert "Not drawn" not in plain.caption
    assert "Not drawn, for want of room: controls of ports; the table has them." in full.caption
    assert "one LoRA for all tasks" not in "".join(full.tips.values())


def test_long_names_take_one_column_of_a_legend() -> None:
    assert legend_columns(["PorTAL", "per-task LoRA", "frozen base"]) == 2
    assert legend_columns(["one LoRA for all tasks (shared_lora-half)", "port with the mean latent"]) == 1


def test_no_variant_has_the_mark_that_another_method_owns() -> None:
    variants = [MethodKey("portal", name, "q,v", 8, None) for name in ("portal", "half", "third", "few")]
    others = [MethodKey(name, name, "q,v", 8, None) for name in ("shared_lora", "mean_latent", "lora")]

    marks = mark_variants([*variants, *others])

    assert len({(mark.colour, mark.marker) for mark in marks.values()}) == len(marks)
    assert marks[variants[1]].name == "PorTAL (half)"


def test_the_map_of_latents_tells_kinds_apart_and_names_few_tasks() -> None:
    (run,) = study_of([row(method="source", seed=0, size=8)]).runs
    latents = {f"t{place:02d}": [float(place), float(place % 3)] for place in range(14)}
    kinds = {task: f"kind {place % 7}" for place, task in enumerate(latents)}
    first = ["t00", "t01", "t02", "t03", "t04"]

    many = draw_latents(map_latents(run, latents, kinds), 1)
    few = draw_latents(map_latents(run, {task: latents[task] for task in first}, {}), 1)

    (axes,) = many.figure.axes
    assert len(legend_of(many)) == 7
    assert len({(line.get_marker(), line.get_color()) for line in axes.get_lines()}) == 7
    assert len(axes.texts) == 0
    assert "is of the same kind for" in many.caption
    assert few.figure.legends == []
    assert [text.get_text() for text in few.figure.axes[0].texts] == first
    assert set(few.tips.values()) == set(first)
