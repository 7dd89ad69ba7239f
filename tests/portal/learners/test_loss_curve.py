"""The loss curve: means of stretches, few points whatever the steps, the same after any interruption."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal.learners.loss_curve import MOST_POINTS, LossCurve


def curve_of(losses: list[float], start: int = 0) -> LossCurve:
    curve = LossCurve(start)
    for loss in losses:
        curve.add(loss)
    return curve


def test_up_to_the_most_points_every_step_is_one() -> None:
    losses = [float(step) for step in range(MOST_POINTS - 1)]

    assert curve_of(losses).points == [(step + 1, loss) for step, loss in enumerate(losses)]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6 * MOST_POINTS))
@example(2 * MOST_POINTS - 1)  # one less than the most, and a stretch that has not ended
def test_points_are_means_of_stretches_that_cover_every_step(num_steps: int) -> None:
    points = curve_of([float(step) for step in range(num_steps)]).points

    assert len(points) <= MOST_POINTS
    assert points[-1][0] == num_steps
    ends = [0, *(end for end, _ in points)]
    assert len({after - before for before, after in pairwise(ends[:-1])}) <= 1
    for (start, end), (_, mean) in zip(pairwise(ends), points, strict=True):
        assert mean == pytest.approx((start + end - 1) / 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3 * MOST_POINTS), st.integers(0, 3 * MOST_POINTS))
def test_a_saved_curve_goes_on_as_if_nothing_had_been(before: int, after: int) -> None:
    losses = [1 / (step + 3) for step in range(before + after)]
    saved = json.loads(json.dumps(curve_of(losses[:before]).state()))

    again = LossCurve.restored(saved, before)
    for loss in losses[before:]:
        again.add(loss)

    assert again.points == curve_of(losses).points


def test_without_a_saved_curve_one_begins_at_the_step() -> None:
    curve = LossCurve.restored(None, 40)
    curve.add(2.0)

    assert curve.points == [(41, 2.0)]
