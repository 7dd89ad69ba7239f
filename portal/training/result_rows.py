"""`Evaluation`: what one learner's scores become in the tables of results and predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from portal.data.token_rows import eval_set_hash
from portal.evaluate.loglikelihood import Scored, summarise
from portal.learners.base import Learner
from portal.results import RESULTS, TASK_FILE, run_columns

EVALUATED_SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Evaluation:
    """Result rows (results.RESULTS without `study`) and predictions of one learner at one epoch."""

    results: list[dict[str, Any]]
    predictions: pa.Table


def result_row(learner: Learner, base: str, epoch: int, split: str, scored: list[Scored]) -> dict[str, Any]:
    """A row of results.RESULTS without `study`: the metrics of one task, base, split and epoch.

    `label` is the method: only a study knows another, and a run may be in several studies.
    """
    run, summary = learner.run, summarise(scored)
    trains = run.train is not None
    return {
        **run_columns(run, run.method),
        "base": base,
        "base_revision": learner.bases[base].revision,
        "size": learner.data.size if trains else None,
        "task": scored[0].row.task,
        "epoch": epoch,
        "split": split,
        "prompt_set": TASK_FILE if scored[0].row.task in run.data.files else run.data.prompt_set,
        "eval_set": eval_set_hash(item.row for item in scored),
        "num_examples": summary.num_examples,
        "chance": summary.chance,
        "majority": summary.majority,
        "acc": summary.acc,
        "acc_norm": summary.acc_norm["chars"],
        "acc_norm_unit": "chars",
        "acc_norm_bytes": summary.acc_norm["bytes"],
        "acc_norm_tokens": summary.acc_norm["tokens"],
        "acc_norm_lm_eval": summary.acc_norm["lm-eval"],
        "ties": summary.ties,
        "log_loss": summary.log_loss,
        "gold_tokens": summary.gold_tokens,
        "train_tokens": learner.train_tokens if trains else None,
        "train_flops": learner.train_flops if trains else None,
        "trained_params": learner.num_trained_params if trains else None,
        "wall_s": learner.wall_s if trains else None,
        "calibrated": _is_calibrated(learner, scored[0].row.task),
        "norm_ratio": learner.norm_ratio(scored[0].row.task),
        "device": learner.bases[base].device.type,
    }


def _is_calibrated(learner: Learner, task: str) -> bool | None:
    """Whether the run, or the one that it starts from, was trained on rows of the task; null: nobody was."""
    is_known = learner.run.train is not None or learner.run.spec.takes_calibrated
    return task in learner.trained_tasks if is_known else None


def mark_kept(results: pa.Table, epochs: Mapping[str, int]) -> pa.Table:
    """The result rows of a finished run with their column `kept`: its artifact has `epochs`, by task.

    Rows of a task that has none stay null.
    """
    kept = [
        epoch == epochs[task] if task in epochs else None
        for task, epoch in zip(results["task"].to_pylist(), results["epoch"].to_pylist(), strict=True)
    ]
    place = RESULTS.get_field_index("kept")
    return results.set_column(place, RESULTS.field(place), pa.array(kept, pa.bool_()))


def prediction_rows(learner: Learner, epoch: int, split: str, scored: list[Scored]) -> list[dict[str, Any]]:
    """Rows of results.PREDICTIONS: every choice's score and lengths of each example."""
    return [
        {
            "run": learner.key,
            "task": item.row.task,
            "epoch": epoch,
            "split": split,
            "example": item.row.id,
            "cluster": item.row.cluster,
            "scores": item.scores,
            "chars": item.row.chars,
            "bytes": item.row.bytes,
            "tokens": item.row.scored_tokens,
            "lm_eval_chars": item.row.lm_eval_chars,
            "gold": item.row.gold,
        }
        for item in scored
    ]
