"""Lines of `portal gpu-check`."""

from collections.abc import Iterable

from sweeps.gpu_check.finding import Finding, Level


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    """By what was measured."""
    return {each.what: each.level for each in findings}
