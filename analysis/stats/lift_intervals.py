"""Intervals of a summary's accuracy and recovered lift, and which summaries can be compared."""

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Bootstrap, Interval
from portal.methods import BASE


def lift_interval(
    summary: MethodSummary, comparison: Comparison, bootstrap: Bootstrap | None
) -> Interval | None:
    """The interval of a summary's lift, or the reason why there is none; None where the lift is undefined.

    Draws are over shared seeds, so the interval belongs to the lift only if summary and LoRA have the same.
    """
    base, lora = comparison.frozen_base, comparison.reference_lora
    if bootstrap is None or summary.lift.value is None or base is None or lora is None:
        return None
    compared = (summary, base, lora)
    if not bootstrap.can_compare(*(each.cell for each in compared)):
        return Interval(None, None, None, reason="it shares no seed with the per-task LoRA")
    seeded = [set(each.seeds) for each in compared if not has_no_seed(each)]
    covered = all(set(bootstrap.members[each.cell]) == set(each.seeds) for each in compared)
    if not covered or any(seeds != seeded[0] for seeds in seeded):
        return Interval(None, None, None, reason="its seeds are not those of the per-task LoRA")
    return bootstrap.lift(summary.cell, base.cell, lora.cell)


def comparable_pairs(
    comparison: Comparison, bootstrap: Bootstrap
) -> list[tuple[MethodSummary, MethodSummary]]:
    """Every pair of headline summaries that the bootstrap covers: the LoRA first, the base last."""
    ordered = [each for each in comparison.headline_summaries if each.cell.method != BASE.name][::-1]
    ordered += comparison.variants(BASE.name)
    pairs = [(first, second) for place, first in enumerate(ordered) for second in ordered[place + 1 :]]
    return [pair for pair in pairs if bootstrap.can_compare(pair[0].cell, pair[1].cell)]


def accuracy_interval(summary: MethodSummary, bootstrap: Bootstrap | None) -> Interval | None:
    """The interval of a summary's accuracy; None without a bootstrap that covers it."""
    return None if bootstrap is None else bootstrap.known_estimate(summary.cell)


def has_no_seed(summary: MethodSummary) -> bool:
    """Whether nothing in the method is drawn at random: the frozen base and the zero update."""
    return "seed" not in summary.cell.spec.parts
