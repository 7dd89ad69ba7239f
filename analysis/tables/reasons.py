"""Lines below a table: why a number is missing, and where a number compares unlike things."""

from collections.abc import Iterable

from analysis.stats.absent_runs import describe_absent, is_in
from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Interval
from analysis.stats.lift_intervals import has_no_seed
from analysis.stats.result_table import Cell
from portal.methods import LIFT_REFERENCES
from portal.results import AbsentRun

NO_RUN = "no finished run"


def summary_reasons(summary: MethodSummary, num_planned: int, interval: Interval | None) -> list[str]:
    """Why a row has no accuracy, fewer seeds than planned, or no interval of its lift."""
    name = summary.cell.variant.full_name
    reasons = []
    if summary.acc.mean is None:
        reasons.append(f"{name}: {summary.acc.reason}")
    elif summary.acc.n < num_planned and not has_no_seed(summary):
        reasons.append(f"{name}: {summary.acc.n} of {num_planned} seeds")
    if summary.lift.value is not None and interval is not None and interval.reason:
        reasons.append(f"interval of the lift of {name}: {interval.reason}")
    return reasons


def lift_reasons(comparison: Comparison, summaries: Iterable[MethodSummary]) -> list[str]:
    """Why a summary that could have a lift has none, and where a lift compares unlike numbers of rows."""
    reasons = []
    for summary in summaries:
        lora, size = comparison.reference_lora, summary.cell.size
        if summary.acc.mean is None or summary.cell.method in LIFT_REFERENCES:
            continue
        name = summary.cell.variant.full_name
        if summary.lift.value is None:
            reasons.append(f"recovered lift of {name}: {summary.lift.reason}")
        elif lora is not None and size is not None and size != lora.cell.size:
            reasons.append(
                f"recovered lift of {name}: with {size} rows per task, against the per-task LoRA's with "
                f"{lora.cell.size}"
            )
    return reasons


def missing_size_reasons(summaries: Iterable[MethodSummary], absent: Iterable[AbsentRun]) -> list[str]:
    """Planned sizes of each variant that are larger than the one shown, with the cause of their absence."""
    planned = list(absent)
    missing: dict[tuple[Cell, int], AbsentRun] = {}
    for summary in summaries:
        for run in planned:
            size = run.size or 0
            if size > (summary.cell.size or 0) and is_in(run, summary.cell._replace(size=run.size)):
                missing.setdefault((summary.cell, size), run)
    return [
        f"{cell.variant.full_name} with {size} rows per task: {run.cause or NO_RUN}"
        for (cell, size), run in missing.items()
    ]


def absent_reason(run: AbsentRun) -> str:
    """The cause of a row of dashes."""
    return f"{describe_absent(run)}: {run.cause or NO_RUN}"
