"""Calibration: what one works out by hand, and intervals that cover."""

import numpy as np
import pytest

from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.calibration import NUM_BINS, bin_answers, calibrate, draw_errors
from analysis.stats.result_table import Cell, MethodKey
from tests.support.counts import nightly
from tests.support.result_tables import chosen_of, limits

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


def test_bins_are_as_wide_as_they_say_and_a_probability_of_one_lies_in_the_last() -> None:
    confidence = np.append((np.arange(NUM_BINS) + 0.5) / NUM_BINS, 1.0)
    bins = bin_answers([answers_of(confidence, np.ones(NUM_BINS + 1, dtype=bool))])
    (only,) = bin_answers([answers_of(np.ones(3), np.ones(3, dtype=bool))])

    assert [each.count for each in bins] == [1] * (NUM_BINS - 1) + [2]
    assert (only.count, only.confidence, only.accuracy) == (3, 1.0, 1.0)


def interval_of(clusters: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> tuple[float, float]:
    given = task_of(clusters, {"r": answers_of(confidence, correct)})
    return limits(draw_errors(chosen_of({CELL: {0: "r"}}), {"t": given}, num_draws=200).interval(CELL))


@pytest.mark.parametrize("case", [(0.0, 400), (0.02, 400), (0.1, 1000), *nightly((0.0, 2000), (0.1, 2000))])
def test_intervals_cover_a_known_error_also_none_at_all(case: tuple[float, int]) -> None:
    error, num_rows = case
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        confidence = generator.uniform(0.25, 1, num_rows)
        correct = generator.random(num_rows) < confidence - error
        low, high = interval_of(np.arange(num_rows), confidence, correct)
        covered += low <= error <= high
    assert covered / 60 >= 0.88


def test_an_error_is_told_from_none_and_clusters_of_equal_answers_widen_the_interval() -> None:
    confidence = np.random.default_rng(1).uniform(0.6, 1, 2000)
    correct = np.repeat(np.arange(100) % 2 == 0, 4)
    (low, high), (least, most) = (
        interval_of(np.arange(400) // size, np.full(400, 0.7), correct) for size in (1, 4)
    )

    assert interval_of(np.arange(2000), confidence, confidence > 0.8)[0] > 0.1
    assert most - least > 1.5 * (high - low)
