"""A line says what was measured, and fails for a value that is no number, too."""

import math

import pytest

from sweeps.gpu_check.finding import at_least, at_most, between, left_out, skipped


@pytest.mark.parametrize(
    ("value", "level"), [(0.5, "PASS"), (1.0, "PASS"), (1.5, "FAIL"), (math.nan, "FAIL")]
)
def test_a_value_is_held_to_its_upper_bound(value: float, level: str) -> None:
    assert at_most("error", value, 1.0).level == level


@pytest.mark.parametrize(
    ("value", "level"), [(1.5, "PASS"), (1.0, "PASS"), (0.5, "WARN"), (math.nan, "WARN")]
)
def test_a_value_is_held_to_its_lower_bound(value: float, level: str) -> None:
    assert at_least("memory", value, 1.0, otherwise="WARN").level == level


@pytest.mark.parametrize(
    ("value", "level"), [(1.0, "PASS"), (2.0, "PASS"), (0.9, "FAIL"), (2.5, "FAIL"), (math.nan, "FAIL")]
)
def test_a_value_is_held_to_both_its_bounds(value: float, level: str) -> None:
    assert between("share", value, 1.0, 2.0).level == level


def test_a_line_that_there_was_no_time_for_is_a_warning() -> None:
    assert str(left_out("steps")) == "WARN  steps; left out, because 400 s had passed"


def test_a_line_has_value_unit_and_bound_and_its_note_only_where_it_helps() -> None:
    good, bad = (at_least("/dev/shm", size, 1, unit="GiB", note="give it more") for size in (2.0, 0.064))

    assert str(good) == "PASS  /dev/shm: 2 GiB (at least 1)"
    assert str(bad) == "FAIL  /dev/shm: 0.064 GiB (at least 1); give it more"
    assert (
        str(skipped("waits", "only a GPU can be waited for")) == "SKIP  waits; only a GPU can be waited for"
    )
