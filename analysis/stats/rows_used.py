"""How many rows a run's scores rest on: of all tasks, those it trained on and those that chose its epoch."""

from analysis.stats.epoch_selection import KEPT, REPORTED_SPLIT, SELECTION_SPLIT, has_choice
from analysis.stats.result_table import Run


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
