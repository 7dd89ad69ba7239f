"""Lines of `portal gpu-check`, and steps of its processes that take a tenth of a second, not four."""

from collections.abc import Iterable

from sweeps.gpu_check import neighbours
from sweeps.gpu_check.finding import Finding, Level


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """By what was measured."""
    return {each.what: each.level for each in findings}


def quick_step_times(number: int, *, steps: neighbours.Steps) -> neighbours.Times:
    """In place of `step_times`, in a process of `at_once`."""
    neighbours._SECONDS = 0.1
    return neighbours.step_times(number, steps=steps)
