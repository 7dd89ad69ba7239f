"""A study of tasks without a row whose answers are known: a port, its controls, the LoRA and the base."""

from dataclasses import replace

from analysis.stats.findings import Target, find_target
from analysis.stats.result_table import gather_runs
from tests.support.result_tables import StudyBuilder

HALVES = {0: ("a", "b", "c", "d"), 1: ("b", "d", "f", "h")}
"""By seed, the tasks without a row."""
SIZES = (1, 4, 16)


def few_rows_study(
    *, port: float, shared: float, mean: float | None = None, num_examples: int = 60
) -> StudyBuilder:
    """Rates on tasks without a row; on calibrated ones a port has 0.8 and the base 0.2 everywhere.

    Without `mean` there is no mean-latent control.
    """
    tasks = tuple("abcdefgh")
    builder = StudyBuilder(tasks=tasks, num_examples=num_examples)
    builder.add("base", rates=(0.2,))
    rates = {"portal": (port, 0.8), "shared_lora": (shared, 0.6), "mean_latent": (mean, 0.4)}
    for seed, without in HALVES.items():
        for size in SIZES:
            builder.add(
                "lora",
                seed=seed,
                size=size,
                rates=(0.3 + 0.05 * size**0.5,),
                train_rows=size,
                keeps_best=False,
            )
            for method, (unseen, seen) in rates.items():
                if unseen is not None:
                    add_split(builder, method, seed, size, without, unseen=unseen, seen=seen)
    return builder


def add_split(
    builder: StudyBuilder,
    method: str,
    seed: int,
    size: int,
    without: tuple[str, ...],
    *,
    unseen: float,
    seen: float,
    label: str | None = None,
) -> None:
    """A run with one rate on tasks without a row and another on calibrated tasks."""
    named = {"label": label or method, "keeps_best": False}
    parts = []
    calibrated = tuple(task for task in builder.tasks if task not in without)
    for rate, tasks in ((unseen, without), (seen, calibrated)):
        part = replace(builder, tasks=tasks, rows=[], predictions=[])
        part.add(method, seed=seed, size=size, rates=(rate,), **named)
        parts.append(part)
    key = f"{named['label']}-{seed}-{size}"
    for part, is_seen in zip(parts, (False, True), strict=True):
        builder.rows += [
            {**line, "run": key, "calibrated": is_seen, "train_rows": size if is_seen else 0}
            for line in part.rows
        ]
        builder.predictions += [{**line, "run": key} for line in part.predictions]


def target_of_study(builder: StudyBuilder, *, with_predictions: bool = True) -> Target:
    """The findings on its one base."""
    predictions = builder.predictions_table() if with_predictions else None
    study = gather_runs(builder.results_table())
    return find_target(study, "big", slug="big", predictions=predictions)
