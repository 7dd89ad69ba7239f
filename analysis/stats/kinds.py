"""What a method does on the tasks of a kind: accuracies are means over these tasks, lift is of such means."""

from collections.abc import Sequence
from math import fsum

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.lift import recovered_lift
from analysis.stats.quantities import Quantity, Spread, spread


def accuracy_on(summary: MethodSummary, tasks: Sequence[str]) -> Spread:
    """The score as the mean over `tasks` within each seed, over seeds; undefined where a seed lacks one."""
    known = [summary.per_task[task] for task in tasks if task in summary.per_task]
    if len(known) < len(tasks) or any(each.n < len(summary.seeds) for each in known):
        return Spread(None, None, 0, "a seed lacks a task of the kind")
    by_seed = zip(*(each.values for each in known), strict=True)
    return spread([fsum(values) / len(values) for values in by_seed])


def lift_on(comparison: Comparison, summary: MethodSummary, tasks: Sequence[str]) -> Quantity:
    """The recovered lift of the mean over `tasks`."""
    compared = (summary, comparison.frozen_base, comparison.reference_lora)
    return recovered_lift(*(None if each is None else accuracy_on(each, tasks).mean for each in compared))


def mean_chance(comparison: Comparison, tasks: Sequence[str]) -> float | None:
    """The mean rate of chance over those of `tasks` where it is known."""
    rates = [comparison.chance[task] for task in tasks if task in comparison.chance]
    return fsum(rates) / len(rates) if rates else None
