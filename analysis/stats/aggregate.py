"""Cells to numbers: task means within a seed, mean and std over seeds, recovered lift and retention."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from analysis.stats.epoch_selection import REPORTED_SPLIT, SelectionError, selected_scores
from analysis.stats.result_table import Cell, Cost, ResultSet, Run, Score, cell_order

DEFAULT_RULE = "best_on_validation"


@dataclass(frozen=True)
class Quantity:
    """A number, or null with the reason why it is undefined."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and sample std (ddof 1; null below two seeds) over `n` seeds; a null mean has a reason.

    `values` holds one value a seed.
    """

    mean: float | None
    std: float | None
    n: int
    reason: str | None = None
    values: tuple[float, ...] = ()

    @property
    def known(self) -> float:
        """The mean of a spread that has one."""
        assert self.mean is not None, self.reason
        return self.mean


@dataclass(frozen=True)
class MethodSummary:
    """One line of the main table: a cell under one selection rule. Accuracy is acc_norm."""

    cell: Cell
    seeds: tuple[int | None, ...]
    tasks: tuple[str, ...]
    acc: Spread
    raw_acc: Spread
    log_loss: Spread
    lift: Quantity
    retention: Quantity
    per_task: Mapping[str, Spread]
    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """All summaries on one base under one rule, with what lift is measured from and against."""

    base: str
    rule: str
    floor: MethodSummary | None  # the frozen base
    ceiling: MethodSummary | None  # the per-task LoRA with the most data
    chance: Mapping[str, float]
    majority: Mapping[str, float]  # of the tasks whose questions all have the same answers
    summaries: tuple[MethodSummary, ...]
    chosen: bool  # whether any run was scored at several epochs, so that the rule chose

    @property
    def main(self) -> tuple[MethodSummary, ...]:
        """Every variant at its largest calibration size."""
        largest = {summary.cell.variant: summary for summary in self.summaries}
        return tuple(summary for summary in self.summaries if largest[summary.cell.variant] is summary)

    def find(self, method: str) -> MethodSummary | None:
        """The first main line of `method`, the one with the fewest modules."""
        return next((summary for summary in self.main if summary.cell.method == method), None)

    def name(self, summary: MethodSummary) -> str:
        """The method's name, with modules and rank where another main line has the same method."""
        variant = summary.cell.variant
        shared = sum(line.cell.method == variant.method for line in self.main) > 1
        return f"{variant.label} {variant.settings}" if shared else variant.label


def spread(values: Sequence[float], *, reason: str = "no finished run") -> Spread:
    """Mean and sample std of one value a seed, independent of their order."""
    if not values:
        return Spread(None, None, 0, reason)
    mean = fsum(values) / len(values)
    return Spread(
        mean, statistics.stdev(values) if len(values) > 1 else None, len(values), None, tuple(values)
    )


def recovered_lift(accuracy: float | None, base: float | None, lora: float | None) -> Quantity:
    """(accuracy - base) / (lora - base), macro means; undefined unless the LoRA rises above the base."""
    if accuracy is None:
        return Quantity(None, "no score of its own")
    if base is None:
        return Quantity(None, "no score of the frozen base")
    if lora is None:
        return Quantity(None, "no per-task LoRA on this base")
    if lora <= base:
        return Quantity(None, "the per-task LoRA does not rise above the base")
    return Quantity((accuracy - base) / (lora - base))


def retention(accuracy: float | None, lora: float | None) -> Quantity:
    """accuracy / lora, macro means."""
    if accuracy is None:
        return Quantity(None, "no score of its own")
    if lora is None:
        return Quantity(None, "no per-task LoRA on this base")
    if lora <= 0:
        return Quantity(None, "the per-task LoRA's accuracy is not positive")
    return Quantity(accuracy / lora)


def compare(study: ResultSet, base: str, rule: str = DEFAULT_RULE) -> Comparison:
    """Every cell on `base` except source runs, under one selection rule, scored on the test split."""
    cells = {
        cell: runs for cell, runs in study.cells.items() if cell.base == base and cell.method != "source"
    }
    scores = [_reported_scores(run) for runs in cells.values() for run in runs]
    plain = [_summarise(cell, runs, rule) for cell, runs in sorted(cells.items(), key=_by_cell)]
    floor = next((summary for summary in plain if summary.cell.method == "base"), None)
    ceiling = _ceiling(plain)
    return Comparison(
        base=base,
        rule=rule,
        floor=floor,
        ceiling=ceiling,
        chance=_reported(scores, "chance"),
        majority=_reported(scores, "majority"),
        summaries=tuple(_with_ratios(summary, floor, ceiling) for summary in plain),
        chosen=any(_has_choice(run) for runs in cells.values() for run in runs),
    )


def summarise_sources(study: ResultSet, rule: str = DEFAULT_RULE) -> tuple[MethodSummary, ...]:
    """What joint training reached on its own source bases; no lift, that is not a port."""
    return tuple(
        _summarise(cell, runs, rule) for cell, runs in study.cells.items() if cell.method == "source"
    )


def _by_cell(item: tuple[Cell, object]) -> tuple:
    return cell_order(item[0])


def _ceiling(summaries: Sequence[MethodSummary]) -> MethodSummary | None:
    """The LoRA that lift is measured against: most data, then most modules, then highest rank."""
    loras = [summary for summary in summaries if summary.cell.method == "lora"]

    def breadth(summary: MethodSummary) -> tuple[int, int, int]:
        variant = summary.cell.variant
        return summary.cell.size or 0, len((variant.modules or "").split(",")), variant.rank or 0

    return max(loras, key=breadth, default=None)


def _summarise(cell: Cell, runs: Sequence[Run], rule: str) -> MethodSummary:
    scored: list[tuple[Run, dict[str, Score]]] = []
    reason = "no finished run"
    for run in runs:
        try:
            scored.append((run, selected_scores(run, rule)))
        except SelectionError as error:
            reason = str(error)
    tasks = tuple(sorted({task for _, scores in scored for task in scores}))
    short = [(run, task) for run, scores in scored for task in tasks if task not in scores]
    if short:
        reason = f"run {short[0][0].key} lacks task {short[0][1]!r}, so its task mean is not comparable"

    def over_seeds(value: Callable[[Score], float]) -> Spread:
        means = [fsum(map(value, scores.values())) / len(scores) for _, scores in scored]
        return spread([] if short else means, reason=reason)

    per_task = {
        task: spread([scores[task].acc_norm for _, scores in scored if task in scores]) for task in tasks
    }
    undefined = Quantity(None, reason)
    return MethodSummary(
        cell=cell,
        seeds=tuple(run.seed for run, _ in scored),
        tasks=tasks,
        acc=over_seeds(lambda score: score.acc_norm),
        raw_acc=over_seeds(lambda score: score.acc),
        log_loss=over_seeds(lambda score: score.log_loss),
        lift=undefined,
        retention=undefined,
        per_task=per_task,
        cost=_mean_cost([run.cost for run in runs]),
    )


def _with_ratios(
    summary: MethodSummary, floor: MethodSummary | None, ceiling: MethodSummary | None
) -> MethodSummary:
    if summary.cell.method == "base":
        lift = Quantity(None, "the frozen base is where lift is measured from")
    elif ceiling is not None and summary.cell == ceiling.cell:
        lift = Quantity(None, "this LoRA is what lift is measured against")
    else:
        lift = recovered_lift(summary.acc.mean, _mean_of(floor), _mean_of(ceiling))
    kept = retention(summary.acc.mean, _mean_of(ceiling))
    unlike = [other for other in (floor, ceiling) if other is not None and other.tasks != summary.tasks]
    if unlike and lift.value is not None:
        lift = kept = Quantity(None, f"scored on other tasks than {unlike[0].cell.variant.label}")
    if ceiling is not None and summary.cell == ceiling.cell:
        kept = Quantity(None, "this LoRA is what retention is measured against")
    return MethodSummary(**{**vars(summary), "lift": lift, "retention": kept})


def _mean_of(summary: MethodSummary | None) -> float | None:
    return None if summary is None else summary.acc.mean


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fsum(known) / len(known) if known else None

    tokens = mean([cost.train_tokens for cost in costs])
    return Cost(
        trained_params=next((cost.trained_params for cost in costs if cost.trained_params is not None), None),
        train_tokens=None if tokens is None else round(tokens),
        train_flops=mean([cost.train_flops for cost in costs]),
        wall_s=mean([cost.wall_s for cost in costs]),
        devices=costs[0].devices,
    )


def _has_choice(run: Run) -> bool:
    return len({epoch for epoch in run.scores.get(REPORTED_SPLIT, {}) if epoch > 0}) > 1


def _reported_scores(run: Run) -> dict[str, Score]:
    """Scores on the reported rows, of any epoch."""
    return {
        task: score for tasks in run.scores.get(REPORTED_SPLIT, {}).values() for task, score in tasks.items()
    }


def _reported(scores: Iterable[Mapping[str, Score]], name: str) -> dict[str, float]:
    """What does not depend on the run, by task, where it is known."""
    found = {task: getattr(score, name) for tasks in scores for task, score in tasks.items()}
    return {task: value for task, value in sorted(found.items()) if value is not None}
