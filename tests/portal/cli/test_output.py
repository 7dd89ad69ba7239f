"""What a gain's interval says of few rows and of shares at the edge."""

import pytest

from portal.cli.output import difference_interval, print_gains


def row(task: str, score: float, count: int) -> dict[str, object]:
    return {"task": task, "score": score, "num_examples": count, "chance": 0.25}


def test_the_interval_is_newcombes() -> None:
    for first, second, count, low, high in (
        # recomputed from Wilson's limits with scipy: binomtest(k, n).proportion_ci(method="wilson")
        (0.3, 0.94, 50, 0.4687, 0.7559),
        (0.5, 0.5, 10, -0.3725, 0.3725),
        (0.0, 0.0, 4, -0.4899, 0.4899),
    ):
        assert difference_interval(first, second, count) == pytest.approx((low, high), abs=2e-4)


def test_a_gain_of_one_row_or_with_an_interval_that_is_printed_to_start_at_0_is_not_clear(
    capsys: pytest.CaptureFixture[str],
) -> None:
    low, _ = difference_interval(0.5, 1.0, 6)
    assert 0 < low < 0.0005
    before = [row("few", 0.0, 1), row("many", 0.3, 50), row("half", 0.5, 6)]
    after = [row("few", 1.0, 1), row("many", 0.94, 50), row("half", 1.0, 6)]

    print_gains(before, after)

    printed = capsys.readouterr().out
    assert "+100.0 (-" in printed
    assert "+50.0 (0.0 to " in printed
    assert "no clear gain: few, half;" in printed
