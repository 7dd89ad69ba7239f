"""Absent runs of a study's record as analysis sees them: their `MethodKey`, their cell, a name for people."""

from analysis.stats.result_table import Cell, MethodKey
from portal.results import AbsentRun


def method_key(run: AbsentRun) -> MethodKey:
    """The key that the run's rows would have; `run` stands for an unknown method."""
    method = run.method or "run"
    return MethodKey(method, run.label or method, run.modules, run.rank, run.sources)


def is_in(run: AbsentRun, cell: Cell) -> bool:
    """Whether the run would be one of the cell's; a run without a label is known by its method alone."""
    same = run.method == cell.method if run.label is None else method_key(run) == cell.variant
    return same and run.base == cell.base and run.size == cell.size


def describe_absent(run: AbsentRun) -> str:
    """`PorTAL on mini-gemma3, size 250, seed 1`, as far as it is known."""
    label = method_key(run).label if run.method else run.label or "run"
    text = f"{label} on {run.base}" if run.base else label
    if run.size is not None:
        text += f", size {run.size}"
    if run.seed is not None:
        text += f", seed {run.seed}"
    return f"{text} ({run.run})" if run.run else text
