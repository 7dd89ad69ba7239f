"""Selection rules: which epoch of a run is reported, chosen from scores that are already in the table."""

from collections.abc import Mapping, Sequence
from math import fsum

from analysis.stats.result_table import Run, Score
from portal.methods import find_method

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
