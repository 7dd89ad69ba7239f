"""A study of new tasks whose answers are known: carried latents, a control, LoRAs and the base."""

from collections.abc import Mapping
from dataclasses import replace

from analysis.stats.findings import Target, find_target
from analysis.stats.result_table import gather_runs
from portal.results import StudyInfo
from tests.support.result_tables import StudyBuilder

KNOWN, NEW = ("room_1", "room_2", "town_1", "town_2"), ("age_1", "age_2")
KINDS = {
    **{task: task.partition("_")[0] for task in (*KNOWN, *NEW)},
    "old_room": "room",
    "old_town": "town",
}
SOURCES = {"of1": ("old_room",), "of2": ("old_room", "old_town")}
INFO = StudyInfo(
    kinds=KINDS,
    own_tasks=(*KNOWN, *NEW),
    source_tasks={
        f"{label}-{variant}": tasks
        for variant, tasks in SOURCES.items()
        for label in ("carried", "mean_latent", "shared_lora")
    },
)


def new_tasks_study(*, carried: tuple[float, float] = (0.7, 0.3), mean: float = 0.4) -> StudyBuilder:
    """Carried latents by 4 and 16 rows and two sources; rates of the larger source on known and new kinds.

    The smaller source has 0.1 less. The frozen base has 0.2, a LoRA with 48 rows 0.9.
    """
    builder = StudyBuilder(tasks=(*KNOWN, *NEW), num_examples=60)
    builder.add("base", rates=(0.2,))
    for seed in (0, 1):
        for size, rate in ((4, 0.5), (48, 0.9)):
            builder.add("lora", seed=seed, size=size, rates=(rate,))
        for variant, less in (("of1", 0.1), ("of2", 0.0)):
            for size, more in ((4, 0.0), (16, 0.1)):
                rates = tuple(rate - less + more for rate in carried)
                _add(builder, "carried", f"carried-{variant}", seed, size, rates)
            _add(builder, "mean_latent", f"mean_latent-{variant}", seed, 16, (mean - less, mean - less))
    return builder


def _add(
    builder: StudyBuilder, method: str, label: str, seed: int, size: int, rates: tuple[float, ...]
) -> None:
    """A run with one rate on the tasks of known kinds and another on the others."""
    for rate, tasks in zip(rates, (KNOWN, NEW), strict=True):
        part = replace(builder, tasks=tasks, rows=[], predictions=[])
        part.add(method, seed=seed, size=size, rates=(rate,), label=label)
        key = f"{label}-{seed}-{size}"
        builder.rows += [{**line, "run": key} for line in part.rows]
        builder.predictions += [{**line, "run": key} for line in part.predictions]


def target_with_new_tasks(
    builder: StudyBuilder,
    *,
    with_predictions: bool = True,
    info: StudyInfo = INFO,
    kinds: Mapping[str, str] = KINDS,
) -> Target:
    """The findings on its one base."""
    predictions = builder.predictions_table() if with_predictions else None
    study = replace(gather_runs(builder.results_table()), kinds=kinds)
    return find_target(study, "big", slug="big", info=info, predictions=predictions)
