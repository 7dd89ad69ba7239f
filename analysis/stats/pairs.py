"""`Pair`: one cell in two studies and the difference between them, paired over documents and shared seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.bootstrap import Bootstrap, Interval
from analysis.stats.findings import Findings
from analysis.stats.result_table import Cell, cell_order


@dataclass(frozen=True)
class Pair:
    """One cell in two studies; a summary is None where a study has no result.

    The difference is second minus first, over the seeds that both have; null, with a reason, where it would
    compare unlike tasks or no seed is shared.
    """

    cell: Cell
    summaries: tuple[MethodSummary | None, MethodSummary | None]
    difference: Interval
    num_seeds: int

    @property
    def name(self) -> str:
        """`PorTAL q,v r8, 64 rows`."""
        size = "" if self.cell.size is None else f", {self.cell.size} rows"
        return f"{self.cell.variant.full_name}{size}"

    @property
    def is_in_both(self) -> bool:
        return all(_is_scored(summary) for summary in self.summaries)


def find_pairs(findings: tuple[Findings, Findings], base: str) -> list[Pair]:
    """Every cell on `base` that is a headline summary of either study."""
    comparisons = [comparison_on(each, base) for each in findings]
    headlines = {summary.cell for each in comparisons for summary in each.headline_summaries}
    cells = sorted(headlines, key=cell_order)
    summaries = {cell: (_find(comparisons[0], cell), _find(comparisons[1], cell)) for cell in cells}
    both = [cell for cell, pair in summaries.items() if all(map(_is_scored, pair))]
    bootstrap = _join([each.bootstrap(both) for each in findings])
    return [_pair(cell, summaries[cell], bootstrap) for cell in cells]


def comparison_on(findings: Findings, base: str) -> Comparison:
    """The comparison that a study's report leads with on one of its bases."""
    return next(target.comparison for target in findings.targets if target.base == base)


def _find(comparison: Comparison, cell: Cell) -> MethodSummary | None:
    return next((summary for summary in comparison.summaries if summary.cell == cell), None)


def _is_scored(summary: MethodSummary | None) -> bool:
    return summary is not None and summary.acc.mean is not None


def _pair(
    cell: Cell, summaries: tuple[MethodSummary | None, MethodSummary | None], bootstrap: Bootstrap | None
) -> Pair:
    """The pair with its difference, or with the reason why there is none."""
    first, second = summaries
    tagged = _tag(cell, 0), _tag(cell, 1)
    if first is None or second is None or not _is_scored(first) or not _is_scored(second):
        return Pair(cell, summaries, _undefined("no result in one of the studies"), 0)
    if first.tasks != second.tasks:
        return Pair(cell, summaries, _undefined("the studies have other tasks"), 0)
    if bootstrap is None or any(tag not in bootstrap.members for tag in tagged):
        return Pair(cell, summaries, _undefined("predictions are missing"), 0)
    if not bootstrap.can_compare(*tagged):
        return Pair(cell, summaries, _undefined("the studies share no seed"), 0)
    seeds = len(bootstrap.shared_seeds(*tagged))
    return Pair(cell, summaries, bootstrap.difference(tagged[1], tagged[0]), seeds)


def _undefined(reason: str) -> Interval:
    return Interval(None, None, None, reason=reason)


def _join(both: Sequence[Bootstrap | None]) -> Bootstrap | None:
    """One bootstrap of both studies; their draws are paired: a cluster's depends on seed and name alone."""
    known = [(place, each) for place, each in enumerate(both) if each is not None]
    if len(known) < 2:
        return None
    members = {
        _tag(cell, place): {seed: f"{place} {key}" for seed, key in runs.items()}
        for place, each in known
        for cell, runs in each.members.items()
    }
    draws = {f"{place} {key}": drawn for place, each in known for key, drawn in each.draws.items()}
    points = {f"{place} {key}": point for place, each in known for key, point in each.points.items()}
    return Bootstrap(members, draws, points, known[0][1].seed)


def _tag(cell: Cell, place: int) -> Cell:
    """The cell as one of the first or of the second study."""
    return cell._replace(variant=cell.variant._replace(name=f"{cell.variant.name} #{place}"))
