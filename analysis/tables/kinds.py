"""Tables of accuracy by kind of task: on one base, and in two studies side by side."""

from collections.abc import Mapping, Sequence

from analysis.stats.aggregate import Comparison, MethodSummary
from analysis.stats.findings import Target
from analysis.stats.kinds import accuracy_on, lift_on, mean_chance
from analysis.stats.pairs import Pair
from analysis.stats.quantities import Quantity
from analysis.tables.columns import COUNT, NUMBER, PERCENT, SPREAD, WORD, Column
from analysis.tables.table import Table


def kinds_table(target: Target) -> Table | None:
    """Per kind: its number of tasks, chance, the mean score of every variant, and the port's lift.

    The mean over all tasks comes last. None where no two tasks share a kind.
    """
    return _kinds_table(target, target.comparison.headline_summaries)


def short_kinds_table(target: Target) -> Table | None:
    """The same with the frozen base, the port and the per-task LoRA only, which the lift is made of."""
    comparison = target.comparison
    shown = comparison.frozen_base, target.port, comparison.reference_lora
    return _kinds_table(target, [summary for summary in shown if summary is not None])


def pair_kinds_table(
    comparisons: tuple[Comparison, Comparison], pairs: Sequence[Pair], names: tuple[str, str], slug: str
) -> Table | None:
    """Per kind of which both studies have the same tasks: accuracy in both of every method that both have."""
    first, second = comparisons
    shared = {kind: tasks for kind, tasks in first.kinds.items() if second.kinds.get(kind) == tasks}
    both = [pair for pair in pairs if pair.is_in_both]
    if not shared or not both:
        return None
    columns = [Column("kind", WORD), Column("tasks", COUNT)]
    for pair in both:
        columns += [Column(f"{pair.name}, {name}", SPREAD) for name in names]
    rows = []
    for kind, tasks in shared.items():
        summaries = [summary for pair in both for summary in pair.summaries if summary is not None]
        rows.append((kind, len(tasks), *(accuracy_on(summary, tasks) for summary in summaries)))
    title = f"{first.base}: {first.score_name} by kind of task"
    return Table(title, f"pair-kinds-{slug}", tuple(columns), tuple(rows))


def _kinds_table(target: Target, summaries: Sequence[MethodSummary]) -> Table | None:
    comparison, port = target.comparison, target.port
    if not comparison.kinds or not summaries:
        return None
    rows: list[tuple[object, ...]] = []
    lifts: dict[str, Quantity] = {}
    for kind, tasks in comparison.kinds.items():
        scores = [accuracy_on(summary, tasks) for summary in summaries]
        if port is not None:
            lifts[kind] = lift_on(comparison, port, tasks)
        rows.append((kind, len(tasks), mean_chance(comparison, tasks), *scores, *_of(lifts, kind)))
    everything = [task for tasks in comparison.kinds.values() for task in tasks]
    means = [summary.acc for summary in summaries] + ([] if port is None else [port.lift])
    rows.append(("task mean", len(everything), mean_chance(comparison, everything), *means))
    columns = [Column("kind", WORD), Column("tasks", COUNT), Column("chance", NUMBER)]
    columns += [Column(summary.cell.variant.full_name, SPREAD) for summary in summaries]
    if port is not None:
        columns.append(Column(f"{port.cell.variant.full_name}: lift", PERCENT))
    title, slug = f"{target.base}: {target.score_name} by kind of task", f"kinds-{target.slug}"
    return Table(title, slug, tuple(columns), tuple(rows), tuple(_lift_reasons(lifts)), footer=1)


def _of(lifts: Mapping[str, Quantity], kind: str) -> list[Quantity]:
    return [lifts[kind]] if kind in lifts else []


def _lift_reasons(lifts: Mapping[str, Quantity]) -> list[str]:
    """Why lifts are missing, with the kinds that each reason is of."""
    kinds: dict[str, list[str]] = {}
    for kind, lift in lifts.items():
        if lift.reason is not None:
            kinds.setdefault(lift.reason, []).append(kind)
    return [f"recovered lift of {', '.join(own)}: {reason}" for reason, own in kinds.items()]
