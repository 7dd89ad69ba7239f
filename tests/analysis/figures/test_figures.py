"""Figures: what is drawn of which results, with labels that do not touch and files that repeat."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.curves import draw_curves
from analysis.figures.methods import draw_methods, draw_tasks
from analysis.figures.ranks import draw_ranks
from analysis.stats.aggregate import Comparison, compare
from analysis.stats.curves import build_curves
from analysis.stats.epoch_selection import KEPT
from analysis.stats.result_table import gather_runs
from tests.support.result_tables import StudyBuilder, study_of_ranks, target_of, to_table

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
    return compare(gather_runs(builder.results_table()), "big", KEPT)


def assert_no_tick_labels_touch(figure: Figure) -> None:
    """All tick labels of every axis are apart, by their boxes as drawn."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            boxes = [
                tick.label1.get_window_extent() for tick in axis.get_major_ticks() if tick.label1.get_text()
            ]
            spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            if axis.get_major_ticks()[0].label1.get_rotation() == 0:
                assert all(left[1] <= right[0] for left, right in pairwise(spans)), axis.get_label_text()


def lines_with(axes: Axes, marker: str) -> int:
    return sum(line.get_marker() == marker for line in axes.get_lines())


def test_three_ranks_of_a_method_are_a_line_and_two_are_none() -> None:
    assert draw_ranks(with_ranks((4, 8)), "big") is None
    drawing = draw_ranks(with_ranks((2, 4, 8, 16)), "big")
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4", "8", "16"]
    assert "PorTAL q,v, rank 16: 0." in "\n".join(drawing.tips.values())
    assert_no_tick_labels_touch(drawing.figure)


@pytest.mark.parametrize("axis", ["size", "train_flops", "wall_s"])
@pytest.mark.parametrize("metric", ["acc", "log_loss"])
def test_a_curve_has_a_mark_for_every_size_a_star_and_labels_apart(
    sized: Comparison, axis: str, metric: str
) -> None:
    curves = build_curves(sized, metric)
    assert curves is not None
    drawing = draw_curves(curves, axis, "big")
    assert drawing is not None
    (axes,) = drawing.figure.axes
    assert lines_with(axes, "o") == lines_with(axes, "s") == len(SIZES)
    assert lines_with(axes, "*") == 2
    assert len(axes.get_xticks()) >= 3
    assert_no_tick_labels_touch(drawing.figure)


def test_methods_and_tasks_have_labels_apart(sized: Comparison) -> None:
    for drawing in (draw_methods(sized, "big"), draw_tasks(sized, "big")):
        assert drawing is not None
        assert_no_tick_labels_touch(drawing.figure)


def test_tasks_with_one_set_of_answers_show_the_majority(sized: Comparison) -> None:
    drawing = draw_tasks(sized, "big")
    assert drawing is not None
    assert [tip for tip in drawing.tips.values() if "majority" in tip] == ["yes-no, majority answer: 0.525"]


def test_a_figure_is_written_as_three_files_that_repeat(sized: Comparison, tmp_path: Path) -> None:
    def write(folder: Path) -> dict[str, bytes]:
        folder.mkdir()
        drawing = draw_methods(sized, "big")
        assert drawing is not None
        return {path.name: path.read_bytes() for path in drawing.save(folder)}

    first = write(tmp_path / "a")
    assert set(first) == {"methods-big.png", "methods-big.svg", "methods-big.pdf"}
    assert first == write(tmp_path / "b")


def test_nothing_is_drawn_where_no_line_has_a_score() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.5, 0.6))
    unjudged = [line for line in builder.rows if line["split"] == "test"]
    comparison = compare(gather_runs(to_table(unjudged)), "big")
    assert draw_methods(comparison, "big") is None
    assert draw_tasks(comparison, "big") is None


def test_a_curve_without_costs_is_left_out_by_name(sized: Comparison) -> None:
    curves = build_curves(sized, "acc")
    assert curves is not None
    unknown = tuple(replace(cost, wall_s=None) for cost in curves.curves[0].costs)
    partly = replace(curves, curves=(replace(curves.curves[0], costs=unknown), *curves.curves[1:]))
    drawing = draw_curves(partly, "wall_s", "big")
    assert drawing is not None
    assert "Not drawn, for want of their cost: PorTAL." in drawing.caption
    assert draw_curves(replace(partly, curves=partly.curves[:1]), "wall_s", "big") is None
