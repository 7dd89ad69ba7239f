"""Intervals of a line's accuracy and recovered lift, and which lines can be compared."""

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Bootstrap, Interval


def lift_interval(
    line: MethodSummary, comparison: Comparison, bootstrap: Bootstrap | None
) -> Interval | None:
    """The interval of a line's lift, or the reason why there is none; None where the lift is undefined.

    It is that of the lift in the table only if line and LoRA have the same seeds.
    """
    floor, ceiling = comparison.floor, comparison.ceiling
    if bootstrap is None or line.lift.value is None or floor is None or ceiling is None:
        return None
    lines = (line, floor, ceiling)
    if not bootstrap.can_compare(*(each.cell for each in lines)):
        return Interval(None, None, None, reason="it shares no seed with the per-task LoRA")
    seeded = [set(each.seeds) for each in lines if not has_no_seed(each)]
    covered = all(set(bootstrap.members[each.cell]) == set(each.seeds) for each in lines)
    if not covered or any(seeds != seeded[0] for seeds in seeded):
        return Interval(None, None, None, reason="its seeds are not those of the per-task LoRA")
    return bootstrap.lift(line.cell, floor.cell, ceiling.cell)


def comparable_pairs(
    comparison: Comparison, bootstrap: Bootstrap
) -> list[tuple[MethodSummary, MethodSummary]]:
    """Every pair of main lines that the bootstrap covers: the LoRA first, the base last."""
    lines = [line for line in comparison.main if line.cell.method != "base"][::-1]
    lines += [line for line in comparison.main if line.cell.method == "base"]
    pairs = [(first, second) for place, first in enumerate(lines) for second in lines[place + 1 :]]
    return [pair for pair in pairs if bootstrap.can_compare(pair[0].cell, pair[1].cell)]


def accuracy_interval(line: MethodSummary, bootstrap: Bootstrap | None) -> Interval | None:
    """The interval of a line's accuracy; None without a bootstrap that covers it."""
    if bootstrap is None or not bootstrap.can_compare(line.cell):
        return None
    return bootstrap.estimate(line.cell)


def has_no_seed(line: MethodSummary) -> bool:
    """The frozen base and the zero update: nothing in them is drawn."""
    return line.cell.method == "base" or set(line.seeds) == {None}
