"""Studies of tasks without a row and of new tasks, with known answers: ports, controls, LoRAs, the base."""

from dataclasses import replace

from analysis.stats.findings import Target, find_target
from portal.results import StudyInfo
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
    builder = StudyBuilder(tasks=tuple("abcdefgh"), num_examples=num_examples)
    builder.add("base", rates=(0.2,))
    rates = {"portal": (port, 0.8), "shared_lora": (shared, 0.6), "mean_latent": (mean, 0.4)}
    for seed, without in HALVES.items():
        for size in SIZES:
            rate = 0.3 + 0.05 * size**0.5
            builder.add("lora", seed=seed, size=size, rates=(rate,), train_rows=size, keeps_best=False)
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
    calibrated = tuple(task for task in builder.tasks if task not in without)
    parts = {without: unseen, calibrated: seen}
    start = len(builder.rows)
    _add(builder, method, label or method, seed, size, parts, keeps_best=False)
    for line in builder.rows[start:]:
        is_seen = line["task"] in calibrated
        line.update(calibrated=is_seen, train_rows=size if is_seen else 0)


KNOWN, NEW = ("room_1", "room_2", "town_1", "town_2"), ("age_1", "age_2")
SOURCES = {"of1": ("old_room",), "of2": ("old_room", "old_town")}
INFO = StudyInfo(
    kinds={task: task.removeprefix("old_").partition("_")[0] for task in (*KNOWN, *NEW, *SOURCES["of2"])},
    own_tasks=(*KNOWN, *NEW),
    source_tasks={
        f"{label}-{variant}": tasks
        for variant, tasks in SOURCES.items()
        for label in ("carried", "mean_latent", "shared_lora")
    },
)


def new_tasks_study(*, carried: tuple[float, float] = (0.7, 0.3), mean: float = 0.4) -> StudyBuilder:
    """Carried latents by 4 and 16 rows and two sources; rates of the larger source on known and new kinds.

    The smaller source has 0.1 less. The frozen base has 0.2, a LoRA with 48 rows 0.9. Its record is INFO.
    """
    builder = StudyBuilder(tasks=(*KNOWN, *NEW), num_examples=60)
    builder.add("base", rates=(0.2,))
    for seed in (0, 1):
        for size, rate in ((4, 0.5), (48, 0.9)):
            builder.add("lora", seed=seed, size=size, rates=(rate,))
        for variant, less in (("of1", 0.1), ("of2", 0.0)):
            for size, more in ((4, 0.0), (16, 0.1)):
                parts = {tasks: rate - less + more for tasks, rate in zip((KNOWN, NEW), carried, strict=True)}
                _add(builder, "carried", f"carried-{variant}", seed, size, parts)
            parts = dict.fromkeys((KNOWN, NEW), mean - less)
            _add(builder, "mean_latent", f"mean_latent-{variant}", seed, 16, parts)
    return builder


def _add(
    builder: StudyBuilder,
    method: str,
    label: str,
    seed: int,
    size: int,
    parts: dict[tuple[str, ...], float],
    **values: object,
) -> None:
    """A run with a rate for each part of its tasks."""
    for tasks, rate in parts.items():
        part = replace(builder, tasks=tasks, rows=[], predictions=[])
        part.add(method, seed=seed, size=size, rates=(rate,), label=label, **values)
        key = f"{label}-{seed}-{size}"
        builder.rows += [{**line, "run": key} for line in part.rows]
        builder.predictions += [{**line, "run": key} for line in part.predictions]


def target_of_study(
    builder: StudyBuilder, *, with_predictions: bool = True, info: StudyInfo = StudyInfo()
) -> Target:
    """The findings on its one base."""
    predictions = builder.predictions_table() if with_predictions else None
    study = replace(builder.study(), kinds=info.kinds)
    return find_target(study, "big", slug="big", info=info, predictions=predictions)
