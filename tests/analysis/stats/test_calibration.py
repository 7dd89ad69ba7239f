"""Calibration: what one works out by hand, and intervals that cover."""

import numpy as np
import pytest

from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.calibration import NUM_BINS, bin_answers, calibrate, draw_errors
from analysis.stats.result_table import Cell, MethodKey
from tests.support.result_tables import chosen_of

CELL = Cell("big", MethodKey("portal", "portal", "q,v", 8, None), 8)


def answers_of(confidence: np.ndarray, correct: np.ndarray) -> Answers:
    nll, brier = -np.log(confidence), (1 - confidence) ** 2
    return Answers(correct, correct, confidence, nll, brier, nll, np.ones(len(nll)))


def task_of(clusters: np.ndarray, answers: dict[str, Answers], name: str = "") -> TaskAnswers:
    return TaskAnswers(tuple(f"{name} {place}" for place in range(clusters.max() + 1)), clusters, answers)


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    confidence = np.array([0.62, 0.62, 0.95, 0.95])
    correct = np.array([True, False, True, True])
    given = task_of(np.arange(4), {"r": answers_of(confidence, correct)})
    (found,) = calibrate(chosen_of({CELL: {0: "r"}}), {"t": given}, num_draws=50)
    assert found.ece.mean == pytest.approx(0.5 * 0.12 + 0.5 * 0.05)
    assert found.brier.mean == pytest.approx((2 * 0.38**2 + 2 * 0.05**2) / 4)
    assert [(each.count, each.accuracy) for each in found.bins] == [(2, 0.5), (2, 1.0)]


def test_the_error_pools_tasks_and_the_other_measures_are_task_means() -> None:
    sure, unsure = np.full(10, 0.9), np.full(90, 0.5)
    tasks = {
        "few": task_of(np.arange(10), {"r": answers_of(sure, np.zeros(10, dtype=bool))}, "few"),
        "many": task_of(np.arange(90), {"r": answers_of(unsure, np.arange(90) % 2 == 0)}, "many"),
    }
    (found,) = calibrate(chosen_of({CELL: {0: "r"}}), tasks, num_draws=50)
    assert found.ece.mean == pytest.approx(0.1 * 0.9)
    assert found.nll.mean == pytest.approx((-np.log(0.9) - np.log(0.5)) / 2)


def test_a_probability_of_one_lies_in_the_last_bin() -> None:
    (only,) = bin_answers([answers_of(np.ones(3), np.ones(3, dtype=bool))])
    assert (only.count, only.confidence, only.accuracy) == (3, 1.0, 1.0)


def test_bins_are_as_wide_as_they_say() -> None:
    confidence = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    bins = bin_answers([answers_of(confidence, np.ones(NUM_BINS, dtype=bool))])
    assert [each.count for each in bins] == [1] * NUM_BINS


@pytest.mark.parametrize(("error", "num_rows"), [(0.0, 400), (0.02, 400), (0.0, 2000), (0.1, 2000)])
def test_intervals_cover_a_known_error_also_none_at_all(error: float, num_rows: int) -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        confidence = generator.uniform(0.25, 1, num_rows)
        correct = generator.random(num_rows) < confidence - error
        given = task_of(np.arange(num_rows), {"r": answers_of(confidence, correct)})
        interval = draw_errors(chosen_of({CELL: {0: "r"}}), {"t": given}, num_draws=200).interval(CELL)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= error <= interval.high
    assert covered / 60 >= 0.88


def test_an_error_that_is_there_is_told_from_none() -> None:
    confidence = np.random.default_rng(1).uniform(0.6, 1, 2000)
    given = task_of(np.arange(2000), {"r": answers_of(confidence, confidence > 0.8)})
    interval = draw_errors(chosen_of({CELL: {0: "r"}}), {"t": given}, num_draws=200).interval(CELL)
    assert interval.low is not None
    assert interval.low > 0.1


def test_clusters_of_equal_answers_widen_the_interval() -> None:
    correct = np.repeat(np.arange(100) % 2 == 0, 4)
    answers = {"r": answers_of(np.full(400, 0.7), correct)}
    widths = []
    for clusters in (np.arange(400), np.arange(400) // 4):
        errors = draw_errors(chosen_of({CELL: {0: "r"}}), {"t": task_of(clusters, answers)})
        interval = errors.interval(CELL)
        widths.append((interval.high or 0) - (interval.low or 0))
    assert widths[1] > 1.5 * widths[0]
