"""Figures of a search and of a grid: every setting side by side, and the two that matter most."""

import pytest

from analysis.figures.search import draw_contour, draw_parallel
from portal.search_record import Importance, SearchTrial
from tests.support.figures import assert_no_tick_labels_touch
from tests.support.result_tables import known
from tests.support.searches import search_record


def test_a_search_has_a_line_per_complete_trial_through_its_settings() -> None:
    drawing = known(draw_parallel(search_record(), "search"))

    assert len(drawing.tips) == 12
    assert "trial 11: score 0.8500; lora.train.lr 0.0121" in drawing.tips["tip-11"]  # the best is drawn last
    assert "The settings, those that matter most to the left, of the 12 complete trials" in drawing.caption
    (axes, *_) = drawing.figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "lora.train\nlr", "lora.adapter\nrank", "lora.train\nschedule",
    ]  # fmt: skip
    best = axes.lines[11]
    assert best.get_ydata() == pytest.approx([1.0, 0.25, 1.0])
    assert_no_tick_labels_touch(drawing.figure)


def test_the_two_settings_that_matter_most_span_a_surface() -> None:
    drawing = known(draw_contour(search_record(), "search"))

    axes = drawing.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lora.train.lr, log scale", "lora.adapter.rank")
    assert len(drawing.tips) == 12
    assert_no_tick_labels_touch(drawing.figure)


def test_runs_of_one_place_in_a_grid_lie_side_by_side() -> None:
    record = search_record()
    same = {"lora.train.lr": 1e-3, "lora.adapter.rank": 4, "lora.train.schedule": "linear"}
    trials = [each.model_copy(update={"settings": same}) for each in record.trials[:3]] + [*record.trials[3:]]

    grid = record.model_copy(update={"trials": tuple(trials), "unit": "run"})
    drawing = known(draw_contour(grid, "grid-lora-big"))

    assert drawing.name == "grid-lora-big-contour"
    places = [tuple(points.get_offsets()[0]) for points in drawing.figure.axes[0].collections[-12:]]
    assert len(set(places)) == 12
    assert places[2][0] - places[1][0] == pytest.approx(places[1][0] - places[0][0])
    assert "A point is a run" in drawing.caption


def test_words_with_numbers_are_in_their_order_and_few_numbers_all_have_a_tick() -> None:
    settings = [{"source": f"of{source}", "size": size} for size in (1, 4, 16) for source in (5, 11, 140, 5)]
    trials = [
        SearchTrial(number=number, state="complete", value=number / 20, epoch=None, settings=own)
        for number, own in reversed([*enumerate(settings)])
    ]
    shares = {"source": Importance(0.7, 0.5, 0.9), "size": Importance(0.2, 0.1, 0.3)}
    changes = {"trials": tuple(trials), "importance": shares, "logarithmic": ("size",), "unit": "run"}

    drawing = known(draw_contour(search_record().model_copy(update=changes), "grid"))

    axes = drawing.figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["of5", "of11", "of140"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "4", "16"]
    assert [*axes.get_yticks()] == pytest.approx([0.0, 0.5, 1.0])
    assert "surface" not in drawing.caption
    assert "other settings" not in drawing.caption


def test_a_search_of_one_setting_has_no_surface_and_one_trial_no_figure() -> None:
    record = search_record()
    single = [each.model_copy(update={"settings": {"lora.train.lr": 1e-3}}) for each in record.trials]

    assert draw_contour(record.model_copy(update={"trials": tuple(single)}), "search") is None
    assert draw_parallel(record.model_copy(update={"trials": record.trials[:1]}), "search") is None
