"""`Comparison`: the cells of a base as numbers: task means within a seed, mean and std over seeds, lift.

The file begins with what these rest on: numbers that may be undefined, recovered lift and the rules that
select an epoch, by the formulas of docs/method.md, "Evaluation". Kinds of tasks are at its end.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from analysis.stats.result_table import Cell, Cost, ResultSet, Run, Score, cell_order, score_word
from portal.methods import BASE, LORA, find_method
from portal.results import tasks_by_kind


@dataclass(frozen=True)
class Quantity:
    """A number, or null with the reason why it is undefined."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Spread:
    """Mean and sample std (ddof 1; null below two seeds) over `n` seeds; a null mean has a reason.

    `values` holds one value per seed.
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


def spread(values: Sequence[float], *, reason: str = "no finished run") -> Spread:
    """Mean and sample std of one value per seed, independent of their order."""
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


RULES = ("best_on_validation", "final", "paper")
KEPT = "kept"
"""The epoch that a run leaves as its artifact: the last, or with `keep: best_validation` the one it chose."""
RULE_TITLES = {
    "best_on_validation": "best epoch on validation rows",
    "final": "final epoch",
    "paper": "best epoch on the reported rows (optimistic)",
}
REPORTED_SPLIT = "test"
SELECTION_SPLIT = "validation"


class SelectionError(ValueError):
    """The rule cannot choose; the message says which rows are missing."""


def select_epochs(run: Run, rule: str) -> dict[str, int]:
    """The reported epoch of every task of `run` (docs/method.md, "Evaluation").

    `final`: the last one. `kept`: the one that the run keeps, which is the last where the table does not say.
    Others: the highest score, ties by lower log-loss, then the earlier epoch; read on the validation
    split, or for `paper` on the reported split itself. The choice is by task mean for methods that train all
    tasks together and by task for those that do not (docs/method.md, "Evaluation"). Where only some
    evaluations have reported rows, `best_on_validation` is the one that the run kept, by the same choice over
    all its bases, and `paper` cannot choose. Tasks that the run was not trained on never vote where others
    do. Epoch 0 (no training) is a candidate only where nothing else was scored.

    Raises SelectionError when rows are missing.
    """
    if rule not in (*RULES, KEPT):
        raise ValueError(f"selection rule {rule!r}: known are {', '.join((*RULES, KEPT))}")
    candidates = _candidates(run)
    if rule in ("final", KEPT):
        last = {task: epochs[-1] for task, epochs in candidates.items()}
        return last if rule == "final" else {task: run.kept.get(task, epoch) for task, epoch in last.items()}
    if _is_reported_in_part(run):
        if rule != "best_on_validation":
            raise SelectionError(f"{REPORTED_SPLIT} rows are scored at the kept and the last evaluation only")
        return {task: run.kept.get(task, epochs[-1]) for task, epochs in candidates.items()}
    if all(len(epochs) == 1 for epochs in candidates.values()):
        return {task: epochs[0] for task, epochs in candidates.items()}
    judged = run.scores.get(REPORTED_SPLIT if rule == "paper" else SELECTION_SPLIT, {})
    if find_method(run.cell.method).per_task:
        return {task: _best_epoch(judged, (task,), epochs) for task, epochs in candidates.items()}
    shared = sorted(set.intersection(*(set(epochs) for epochs in candidates.values())))
    trained = tuple(task for task in candidates if task not in run.without_rows)
    epoch = _best_epoch(judged, trained or tuple(candidates), shared)
    return dict.fromkeys(candidates, epoch)


def best_epochs(runs: Sequence[Run]) -> dict[str, int]:
    """The epoch that `keep: best_validation` keeps of every task, recomputed from the tables.

    `runs` are one run's rows on each of its bases. The tasks that it was trained on vote by their rows of the
    validation split: one by one for methods that train each task alone, by the mean over tasks and bases for
    others. Ties go to the lower log-loss, then to the earlier epoch; epoch 0 is no candidate. Tasks without
    rows have the epoch of the others.

    Raises SelectionError where no epoch has rows of all tasks that vote together.
    """
    without_rows = {task for run in runs for task in run.without_rows}
    tasks = tuple(sorted({task for run in runs for task in run.kept} - without_rows))
    by_base = [run.scores.get(SELECTION_SPLIT, {}) for run in runs]
    if find_method(runs[0].cell.method).per_task:
        return {task: _kept_epoch(by_base, (task,)) for task in tasks}
    return dict.fromkeys((*tasks, *without_rows), _kept_epoch(by_base, tasks))


def can_select(run: Run, rule: str) -> bool:
    """Whether `select_epochs` has the rows it needs."""
    try:
        select_epochs(run, rule)
    except SelectionError:
        return False
    return True


def has_choice(run: Run) -> bool:
    """Whether the run has reported rows of several epochs, not counting epoch 0."""
    return len({epoch for epoch in run.scores.get(REPORTED_SPLIT, {}) if epoch > 0}) > 1


def scores_at(run: Run, epochs: Mapping[str, int], split: str) -> dict[str, Score]:
    """The scores on `split` at each task's epoch, for the tasks that were scored there."""
    scores = run.scores.get(split, {})
    return {task: scores[epoch][task] for task, epoch in epochs.items() if task in scores.get(epoch, {})}


def _is_reported_in_part(run: Run) -> bool:
    """Whether an evaluation after epoch 0 has no reported rows of a task, as with `test_scores: kept`."""
    reported = run.scores.get(REPORTED_SPLIT, {})
    return any(
        epoch > 0 and not {*scores} <= {*reported.get(epoch, ())}
        for epoch, scores in run.scores.get(SELECTION_SPLIT, {}).items()
    )


def _candidates(run: Run) -> dict[str, list[int]]:
    """The epochs at which each task has reported rows, without epoch 0 where there are others."""
    reported = run.scores.get(REPORTED_SPLIT, {})
    candidates = {}
    for task in run.tasks:
        epochs = sorted(epoch for epoch, scores in reported.items() if task in scores)
        if not epochs:
            raise SelectionError(f"no {REPORTED_SPLIT} rows of task {task!r}")
        candidates[task] = [epoch for epoch in epochs if epoch > 0] or epochs
    return candidates


def _best_epoch(judged: dict[int, dict[str, Score]], tasks: tuple[str, ...], candidates: list[int]) -> int:
    """The epoch with the highest mean score over `tasks`, among those with scores of all of them."""
    complete = [epoch for epoch in candidates if epoch in judged and set(tasks) <= set(judged[epoch])]
    if not complete:
        raise SelectionError(f"no {SELECTION_SPLIT} rows to choose an epoch on")
    return min(complete, key=lambda epoch: (*_rank([judged[epoch][task] for task in tasks]), epoch))


def _rank(scores: Sequence[Score]) -> tuple[float, float]:
    """What the best epoch has least of: the negated mean score, then the mean log-loss."""
    accuracy = fsum(score.score for score in scores) / len(scores)
    return -accuracy, fsum(score.log_loss for score in scores) / len(scores)


def _kept_epoch(by_base: Sequence[dict[int, dict[str, Score]]], tasks: tuple[str, ...]) -> int:
    """The best epoch of tasks that vote together, on scores by base, then epoch, then task."""
    complete = {
        epoch: [judged[epoch][task] for judged in by_base for task in tasks]
        for epoch in set.intersection(*(set(judged) for judged in by_base))
        if epoch > 0 and all(set(tasks) <= set(judged[epoch]) for judged in by_base)
    }
    if not complete:
        raise SelectionError(f"no {SELECTION_SPLIT} rows to choose an epoch on")
    return min(complete, key=lambda epoch: (*_rank(complete[epoch]), epoch))


def rows_used(run: Run, rule: str) -> int | None:
    """Calibration rows, and, where an epoch was chosen, the rows of the same tasks that it was chosen on.

    The run chose with `keep: best_validation`, whatever epoch is reported; the report chooses where `rule`
    has several epochs to choose from. None where the table does not say what the run was trained on.
    """
    trained = {task for task, count in run.train_rows.items() if count > 0}
    if not trained or run.keeps_best is None:
        return None
    rows = sum(run.train_rows[task] for task in trained)
    if run.keeps_best or (rule not in ("final", KEPT) and has_choice(run)):
        split = REPORTED_SPLIT if rule == "paper" and not run.keeps_best else SELECTION_SPLIT
        sizes = {task: s.num_examples for tasks in run.scores[split].values() for task, s in tasks.items()}
        rows += sum(sizes[task] for task in trained)
    return rows


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
            _mean_cost([run.cost for run in runs]), rows=_mean([rows_used(run, rule) for run, _ in chosen])
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
    scored: Sequence[Mapping[str, Score]], tasks: Sequence[str], value: Callable[[Score], float], reason: str
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
