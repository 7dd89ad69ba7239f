"""A pace is a mean of ratios."""

import pytest

from sweeps.gpu_check.pace import Speed, pace_of


def test_the_pace_is_the_geometric_mean() -> None:
    assert pace_of([Speed(1.0, 2.0, ()), Speed(2.0, 1.0, ())]) == pytest.approx(1.0)
    assert pace_of([Speed(3.0, 1.0, ())]) == pytest.approx(3.0)
    assert pace_of([]) is None
