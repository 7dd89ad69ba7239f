"""Selection rules: which epoch of a run is reported, chosen from scores that are already in the table."""

from collections.abc import Mapping
from math import fsum

from analysis.stats.result_table import Run, Score
from portal.methods import find_method

RULES = ("best_on_validation", "final", "paper", "symmetric")
RULE_TITLES = {
    "best_on_validation": "best epoch on validation rows",
    "final": "final epoch",
    "paper": "best epoch on the reported rows (optimistic)",
    "symmetric": "best epoch on validation rows, one epoch for all tasks, LoRA too",
}
REPORTED_SPLIT = "test"
SELECTION_SPLIT = "validation"


class SelectionError(ValueError):
    """The rule cannot choose; the message says which rows are missing."""


def select_epochs(run: Run, rule: str) -> dict[str, int]:
    """The reported epoch of every task of `run` (docs/method.md, "Evaluation").

    `final`: the last one. Others: the highest acc_norm, ties by lower log-loss, then the earlier epoch; read
    on the validation split, or for `paper` on the reported split itself. The choice is by task mean for
    methods that train all tasks together and by task for those that do not (docs/method.md, "Evaluation");
    `symmetric` always goes by task mean. Epoch 0 (no training) is a candidate only where nothing else was
    scored.

    Raises SelectionError when rows are missing.
    """
    if rule not in RULES:
        raise ValueError(f"selection rule {rule!r}: known are {', '.join(RULES)}")
    candidates = _candidates(run)
    if rule == "final":
        return {task: epochs[-1] for task, epochs in candidates.items()}
    if all(len(epochs) == 1 for epochs in candidates.values()):
        return {task: epochs[0] for task, epochs in candidates.items()}
    judged = run.scores.get(REPORTED_SPLIT if rule == "paper" else SELECTION_SPLIT, {})
    if find_method(run.cell.method).per_task and rule != "symmetric":
        return {task: _best_epoch(judged, (task,), epochs) for task, epochs in candidates.items()}
    shared = sorted(set.intersection(*(set(epochs) for epochs in candidates.values())))
    epoch = _best_epoch(judged, tuple(candidates), shared)
    return dict.fromkeys(candidates, epoch)


def can_select(run: Run, rule: str) -> bool:
    """Whether `select_epochs` has the rows it needs."""
    try:
        select_epochs(run, rule)
    except SelectionError:
        return False
    return True


def scores_at(run: Run, epochs: Mapping[str, int], split: str) -> dict[str, Score]:
    """The scores on `split` at each task's epoch, for the tasks that were scored there."""
    scores = run.scores.get(split, {})
    return {task: scores[epoch][task] for task, epoch in epochs.items() if task in scores.get(epoch, {})}


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
    """The epoch with the highest mean acc_norm over `tasks`, among those with scores of all of them."""
    complete = [epoch for epoch in candidates if epoch in judged and set(tasks) <= set(judged[epoch])]
    if not complete:
        raise SelectionError(f"no {SELECTION_SPLIT} rows to choose an epoch on")
    accuracy = {
        epoch: fsum(judged[epoch][task].acc_norm for task in tasks) / len(tasks) for epoch in complete
    }
    log_loss = {
        epoch: fsum(judged[epoch][task].log_loss for task in tasks) / len(tasks) for epoch in complete
    }
    return min(complete, key=lambda epoch: (-accuracy[epoch], log_loss[epoch], epoch))
