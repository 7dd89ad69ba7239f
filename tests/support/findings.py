"""Lines of `portal gpu-check`, and steps of its processes that take a tenth of a second, not four."""

from collections.abc import Iterable

import pytest

from sweeps.gpu_check import neighbours, rates, speed
from sweeps.gpu_check.finding import Finding, Level


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """By what was measured."""
    return {each.what: each.level for each in findings}


def quick_step_times(number: int, *, steps: neighbours.Steps) -> neighbours.Times:
    """In place of `step_times`, in a process of `at_once`."""
    neighbours._SECONDS = 0.1
    return neighbours.step_times(number, steps=steps)


def shorten_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pack, one timed step and one scored task; small products, copies and writes."""
    monkeypatch.setattr(speed, "ADAPTED", {"q and v": ("q", "v")})
    for kind in ("cuda", "cpu", "cpu in bf16"):
        monkeypatch.setitem(speed._COUNTS, kind, (1,))
        monkeypatch.setitem(speed._STEPS, kind, 1)
        monkeypatch.setitem(speed._RECOMPUTING, kind, ())
        monkeypatch.setitem(speed._SCORED_TASKS, kind, ("copa",))
    monkeypatch.setattr(rates, "_CPU_WIDTH", 128)
    monkeypatch.setattr(rates, "_TRIES", 1)
    monkeypatch.setattr(rates, "_COPIED_BYTES", 2**20)
    monkeypatch.setattr(rates, "_WRITTEN_BYTES", 2**16)
