"""`Evaluation`: what one learner's scores, and its latents, become in the tables that analysis reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from portal.evaluate.loglikelihood import Scored, summarise
from portal.learners.base import Learner
from portal.results import GENERATIONS, LATENTS, LOSSES, PREDICTIONS, RESULTS, TASK_FILE, run_columns


@dataclass(frozen=True)
class Evaluation:
    """Result rows (results.RESULTS without `study`), predictions and written answers of one learner at one
    epoch; None where its run has no task with written answers.
    """

    results: list[dict[str, Any]]
    predictions: pa.Table
    generations: pa.Table | None

    @classmethod
    def joined(cls, parts: Sequence["Evaluation"]) -> "Evaluation":
        """All rows of the parts, in their order."""
        written = [part.generations for part in parts if part.generations is not None]
        return cls(
            [row for part in parts for row in part.results],
            pa.concat_tables([PREDICTIONS.empty_table(), *(part.predictions for part in parts)]),
            pa.concat_tables(written) if written else None,
        )


def evaluation_of(
    learner: Learner, base: str, epoch: int, scored: Mapping[str, list[Scored]], eval_sets: Mapping[str, str]
) -> Evaluation:
    """The rows of the tables of one task, from its scores and the hashes of the scored rows by split."""
    results, predictions, generations = [], [], []
    for split, items in scored.items():
        results.append(result_row(learner, base, epoch, split, items, eval_sets[split]))
        predictions += prediction_rows(learner, epoch, split, items)
        generations += generation_rows(learner, base, epoch, split, items)
    return Evaluation(
        results,
        pa.Table.from_pylist(predictions, schema=PREDICTIONS),
        pa.Table.from_pylist(generations, schema=GENERATIONS) if learner.run.data.answers else None,
    )


def result_row(
    learner: Learner, base: str, epoch: int, split: str, scored: list[Scored], eval_set: str
) -> dict[str, Any]:
    """A row of results.RESULTS without `study`: the metrics of one task, base, split and epoch.

    `label` is the method: only a study knows another, and a run may be in several studies.
    """
    run, task = learner.run, scored[0].row.task
    answers = run.data.answers.get(task)
    summary = summarise(scored, None if answers is None else answers.metric)
    return {
        **run_columns(run, run.method),
        "base": base,
        "base_revision": learner.bases[base].revision,
        "size": learner.data.size if run.spec.has_size else None,
        "task": task,
        "epoch": epoch,
        "split": split,
        "prompt_set": TASK_FILE if task in run.data.files else run.data.prompt_set,
        "eval_set": eval_set,
        "num_examples": summary.num_examples,
        "chance": summary.chance,
        "majority": summary.majority,
        "acc": summary.acc,
        "acc_norm": summary.acc_norm.get("chars"),
        "acc_norm_unit": "chars",
        "acc_norm_bytes": summary.acc_norm.get("bytes"),
        "acc_norm_tokens": summary.acc_norm.get("tokens"),
        "acc_norm_lm_eval": summary.acc_norm.get("lm-eval"),
        "ties": summary.ties,
        "metric": summary.metric,
        "score": summary.score,
        "unended": None if answers is None else summary.unended,
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


def loss_table(learner: Learner) -> pa.Table:
    """results.LOSSES of the steps that the learner has taken: empty where it takes none."""
    rows = [{"run": learner.key, "step": step, "loss": loss} for step, loss in learner.losses.points]
    return pa.Table.from_pylist(rows, schema=LOSSES)


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
            "value": None if item.judged is None else item.judged.value,
        }
        for item in scored
    ]


def generation_rows(
    learner: Learner, base: str, epoch: int, split: str, scored: list[Scored]
) -> list[dict[str, Any]]:
    """Rows of results.GENERATIONS: what was written to each example, if anything was."""
    tokenizer = learner.bases[base].tokenizer
    return [
        {
            "run": learner.key,
            "task": item.row.task,
            "epoch": epoch,
            "split": split,
            "example": item.row.id,
            "base": base,
            "prompt": tokenizer.decode(list(item.row.prompt)),
            "references": item.row.references,
            "text": item.judged.text,
            "tokens": item.judged.num_tokens,
            "reason": item.judged.reason,
            "metric": learner.run.data.answers[item.row.task].metric,
            "value": item.judged.value,
            "error": item.judged.error,
        }
        for item in scored
        if item.judged is not None
    ]
