"""A line says what was measured, and fails for a value that is no number, too."""

import math

from sweeps.gpu_check.finding import bounded, left_out, skipped


def test_a_value_is_held_to_its_bounds() -> None:
    above = [bounded("error", value, most=1.0).level for value in (0.5, 1.0, 1.5, math.nan)]
    below = [
        bounded("memory", value, least=1.0, otherwise="WARN").level for value in (1.5, 1.0, 0.5, math.nan)
    ]
    both = [bounded("share", value, least=1.0, most=2.0).level for value in (1.0, 2.0, 0.9, 2.5, math.nan)]

    assert above == ["PASS", "PASS", "FAIL", "FAIL"]
    assert below == ["PASS", "PASS", "WARN", "WARN"]
    assert both == ["PASS", "PASS", "FAIL", "FAIL", "FAIL"]


def test_a_line_has_value_unit_and_bound_and_its_note_only_where_it_helps() -> None:
    good, bad = (bounded("/dev/shm", size, least=1, unit="GiB", note="give it more") for size in (2.0, 0.064))

    assert str(good) == "PASS  /dev/shm: 2 GiB (at least 1)"
    assert str(bad) == "FAIL  /dev/shm: 0.064 GiB (at least 1); give it more"
    assert str(left_out("steps")) == "WARN  steps; left out, because 400 s had passed"
    assert (
        str(skipped("waits", "only a GPU can be waited for")) == "SKIP  waits; only a GPU can be waited for"
    )
