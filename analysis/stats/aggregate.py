"""`Comparison`: the cells of a base as numbers: task means within a seed, mean and std over seeds, lift."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from analysis.stats.epoch_selection import (
    REPORTED_SPLIT,
    SELECTION_SPLIT,
    SelectionError,
    has_choice,
    scores_at,
    select_epochs,
)
from analysis.stats.lift import recovered_lift, retention
from analysis.stats.quantities import Quantity, Spread, spread
from analysis.stats.result_table import Cell, Cost, ResultSet, Run, Score, cell_order, score_word
from analysis.stats.rows_used import rows_used
from portal.methods import BASE, LORA
from portal.results import tasks_by_kind

DEFAULT_RULE = "best_on_validation"


@dataclass(frozen=True)
class MethodSummary:
    """A cell under one selection rule. Accuracy is the score by each task's metric: of choices acc_norm.

    Scores are on test rows at the reported epochs; `validation_acc`, to choose by, is on validation rows.
    """

    cell: Cell
    seeds: tuple[int | None, ...]
    tasks: tuple[str, ...]
    acc: Spread
    validation_acc: Spread
    log_loss: Spread
    lift: Quantity
    retention: Quantity
    per_task: Mapping[str, Spread]
    cost: Cost


@dataclass(frozen=True)
class Comparison:
    """All summaries on one base under one rule. Lift is measured from `frozen_base` to `reference_lora`.

    `kinds` are the tasks of every kind; empty where no two tasks share one. `score_name` is the metric of all
    tasks, or `score`.
    """

    base: str
    rule: str
    frozen_base: MethodSummary | None
    reference_lora: MethodSummary | None  # the per-task LoRA with the most data
    chance: Mapping[str, float]
    majority: Mapping[str, float]  # of the tasks whose questions all have the same answers
    summaries: tuple[MethodSummary, ...]
    chosen: bool  # whether any run was scored at several epochs, so that the rule chose
    kinds: Mapping[str, tuple[str, ...]]
    score_name: str

    @property
    def score_word(self) -> str:
        """`accuracy` of choices, else `score`."""
        return score_word(self.score_name)

    @property
    def score_title(self) -> str:
        """The word at the start of a sentence."""
        return self.score_word.capitalize()

    @property
    def headline_summaries(self) -> tuple[MethodSummary, ...]:
        """Every variant at its largest calibration size: the rows of the main table."""
        largest = {summary.cell.variant: summary for summary in self.summaries}
        return tuple(summary for summary in self.summaries if largest[summary.cell.variant] is summary)

    def variants(self, method: str) -> tuple[MethodSummary, ...]:
        """The headline summaries of `method`, the plain one first, then by number of modules and rank."""
        return tuple(summary for summary in self.headline_summaries if summary.cell.method == method)

    def candidates(self, method: str) -> tuple[MethodSummary, ...]:
        """The summaries among which one is chosen to stand for `method`.

        Of the frozen base and the per-task LoRA that is the one that lift is measured from or against. Of
        other methods, those under the method's own name, or all variants where none has it.
        """
        references = {BASE.name: self.frozen_base, LORA.name: self.reference_lora}
        if method in references:
            only = references[method]
            return () if only is None else (only,)
        variants = self.variants(method)
        return tuple(summary for summary in variants if summary.cell.variant.is_plain) or variants

    def representative(self, method: str) -> MethodSummary | None:
        """The summary that stands for `method` where there is room for one; None without results.

        Of several candidates it is the one with the highest accuracy on validation rows at the reported
        epoch, so that no test row decides; where none was scored on validation rows, the first.
        """
        candidates = self.candidates(method)
        judged = [each for each in candidates if each.validation_acc.mean is not None]
        return max(judged or candidates[:1], key=lambda each: each.validation_acc.mean or 0.0, default=None)

    def name(self, summary: MethodSummary) -> str:
        """The method's name, with modules and rank where the method has other variants."""
        variant = summary.cell.variant
        return variant.full_name if len(self.variants(variant.method)) > 1 else variant.label


def compare(study: ResultSet, base: str, rule: str = DEFAULT_RULE) -> Comparison:
    """Every cell on `base` except source runs, under one selection rule, scored on the test split."""
    cells = {
        cell: runs
        for cell, runs in study.cells.items()
        if cell.base == base and cell.spec.runs_on == "targets"
    }
    scores = [_reported_scores(run) for runs in cells.values() for run in runs]
    plain = [_summarise(cell, runs, rule) for cell, runs in sorted(cells.items(), key=_by_cell)]
    frozen_base = next((summary for summary in plain if summary.cell.method == BASE.name), None)
    lora = _reference_lora(plain)
    chance = _reported(scores, "chance")
    return Comparison(
        base=base,
        rule=rule,
        frozen_base=frozen_base,
        reference_lora=lora,
        chance=chance,
        majority=_reported(scores, "majority"),
        summaries=tuple(_with_ratios(summary, frozen_base, lora) for summary in plain),
        chosen=any(has_choice(run) for runs in cells.values() for run in runs),
        kinds=tasks_by_kind(chance, study.kinds),
        score_name=study.score_name,
    )


def summarise_sources(study: ResultSet, rule: str = DEFAULT_RULE) -> tuple[MethodSummary, ...]:
    """Scores of joint training on its own source bases, without a lift: those are not ports."""
    return tuple(
        _summarise(cell, runs, rule) for cell, runs in study.cells.items() if cell.spec.runs_on == "sources"
    )


def _by_cell(item: tuple[Cell, object]) -> tuple:
    return cell_order(item[0])


def _reference_lora(summaries: Sequence[MethodSummary]) -> MethodSummary | None:
    """The LoRA that lift is measured against: most data, then most modules, then highest rank."""
    loras = [summary for summary in summaries if summary.cell.method == LORA.name]

    def breadth(summary: MethodSummary) -> tuple[int, int, int]:
        variant = summary.cell.variant
        return summary.cell.size or 0, len((variant.modules or "").split(",")), variant.rank or 0

    return max(loras, key=breadth, default=None)


def _summarise(cell: Cell, runs: Sequence[Run], rule: str) -> MethodSummary:
    chosen: list[tuple[Run, dict[str, int]]] = []
    reason = "no finished run"
    for run in runs:
        try:
            chosen.append((run, select_epochs(run, rule)))
        except SelectionError as error:
            reason = str(error)
    scored = [scores_at(run, epochs, REPORTED_SPLIT) for run, epochs in chosen]
    tasks = tuple(sorted({task for scores in scored for task in scores}))
    reason = _lacking(chosen, scored, tasks) or reason
    undefined = Quantity(None, reason)
    judged = [scores_at(run, epochs, SELECTION_SPLIT) for run, epochs in chosen]
    return MethodSummary(
        cell=cell,
        seeds=tuple(run.seed for run, _ in chosen),
        tasks=tasks,
        acc=_task_means(scored, tasks, lambda score: score.score, reason),
        validation_acc=_task_means(judged, tasks, lambda score: score.score, "no validation rows"),
        log_loss=_task_means(scored, tasks, lambda score: score.log_loss, reason),
        lift=undefined,
        retention=undefined,
        per_task={
            task: spread([scores[task].score for scores in scored if task in scores]) for task in tasks
        },
        cost=replace(
            _mean_cost([run.cost for run in runs]),
            rows=_mean([rows_used(run, rule) for run, _ in chosen]),
        ),
    )


def _lacking(
    chosen: Sequence[tuple[Run, object]], scored: Sequence[Mapping[str, Score]], tasks: Sequence[str]
) -> str | None:
    """Why the runs have no common task mean: the first that lacks a task which another has."""
    for (run, _), scores in zip(chosen, scored, strict=True):
        for task in tasks:
            if task not in scores:
                return f"run {run.key} lacks task {task!r}, so its task mean is not comparable"
    return None


def _task_means(
    scored: Sequence[Mapping[str, Score]],
    tasks: Sequence[str],
    value: Callable[[Score], float],
    reason: str,
) -> Spread:
    """Task means of a value within each seed, over seeds; undefined where a seed lacks one of the tasks."""
    if any(task not in scores for scores in scored for task in tasks):
        return Spread(None, None, 0, reason)
    return spread([fsum(map(value, scores.values())) / len(scores) for scores in scored], reason=reason)


def _with_ratios(
    summary: MethodSummary, frozen_base: MethodSummary | None, lora: MethodSummary | None
) -> MethodSummary:
    """The summary with its lift and its retention, or the reasons why they are undefined."""
    if summary.cell.method == BASE.name:
        lift = Quantity(None, "the frozen base is where lift is measured from")
    elif lora is not None and summary.cell == lora.cell:
        lift = Quantity(None, "this LoRA is what lift is measured against")
    else:
        lift = recovered_lift(summary.acc.mean, _mean_of(frozen_base), _mean_of(lora))
    kept = retention(summary.acc.mean, _mean_of(lora))
    unlike = [other for other in (frozen_base, lora) if other is not None and other.tasks != summary.tasks]
    if unlike and lift.value is not None:
        lift = kept = Quantity(None, f"scored on other tasks than {unlike[0].cell.variant.label}")
    if lora is not None and summary.cell == lora.cell:
        kept = Quantity(None, "this LoRA is what retention is measured against")
    return replace(summary, lift=lift, retention=kept)


def _mean_of(summary: MethodSummary | None) -> float | None:
    return None if summary is None else summary.acc.mean


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return fsum(known) / len(known) if known else None


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    tokens = _mean([cost.train_tokens for cost in costs])
    return Cost(
        trained_params=next((cost.trained_params for cost in costs if cost.trained_params is not None), None),
        train_tokens=None if tokens is None else round(tokens),
        train_flops=_mean([cost.train_flops for cost in costs]),
        wall_s=_mean([cost.wall_s for cost in costs]),
        devices=costs[0].devices,
    )


def _reported_scores(run: Run) -> dict[str, Score]:
    """Scores on the reported rows by task, at any epoch."""
    return {
        task: score for tasks in run.scores.get(REPORTED_SPLIT, {}).values() for task, score in tasks.items()
    }


def _reported(scores: Iterable[Mapping[str, Score]], name: str) -> dict[str, float]:
    """A field of Score that is the same for every run, by task, where it is known."""
    found = {task: getattr(score, name) for tasks in scores for task, score in tasks.items()}
    return {task: value for task, value in sorted(found.items()) if value is not None}
