"""`Evaluation`: what one learner's scores, and its latents, become in the tables that analysis reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from portal.data.token_rows import eval_set_hash
from portal.evaluate.loglikelihood import Scored, summarise
from portal.learners.base import Learner
from portal.results import LATENTS, RESULTS, TASK_FILE, run_columns


@dataclass(frozen=True)
class Evaluation:
    """Result rows (results.RESULTS without `study`) and predictions of one learner at one epoch."""

    results: list[dict[str, Any]]
    predictions: pa.Table


def result_row(learner: Learner, base: str, epoch: int, split: str, scored: list[Scored]) -> dict[str, Any]:
    """A row of results.RESULTS without `study`: the metrics of one task, base, split and epoch.

    `label` is the method: only a study knows another, and a run may be in several studies.
    """
    run, summary, task = learner.run, summarise(scored), scored[0].row.task
    return {
        **run_columns(run, run.method),
        "base": base,
        "base_revision": learner.bases[base].revision,
        "size": learner.data.size if run.spec.has_size else None,
        "task": task,
        "epoch": epoch,
        "split": split,
        "prompt_set": TASK_FILE if task in run.data.files else run.data.prompt_set,
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
        **learner.costs(task, epoch),
        "trained_params": None if run.train is None else learner.num_trained_params,
        "calibrated": task in learner.trained_tasks if run.spec.has_size else None,
        "train_rows": learner.data.num_rows(task) if run.spec.has_size else None,
        "norm_ratio": learner.norm_ratio(task),
        "choices_together": learner.bases[base].takes_branches,
        "device": learner.bases[base].device.type,
    }


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


def latent_table(learner: Learner) -> pa.Table:
    """results.LATENTS of the latents that the learner trains: empty where it trains none."""
    rows = [
        {"run": learner.key, "task": task, "latent": latent.float().cpu().numpy()}
        for task, latent in learner.trained_latents().items()
    ]
    return pa.Table.from_pylist(rows, schema=LATENTS)


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
