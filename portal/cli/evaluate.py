"""`portal eval`: scores a base on tasks, alone or with adapters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import completion
from portal.cli.artifacts import LatentsOption, find_artifact, load_with_latents
from portal.cli.completion import one_of
from portal.cli.options import (
    DATA,
    MACHINE,
    BaseOption,
    ByTaskOption,
    CoreOption,
    DataOption,
    DeviceOption,
    GpusPerWorkerOption,
    JsonOption,
    MaxPromptOption,
    PrecisionOption,
    SuiteOption,
    TasksOption,
    artifact_tasks,
    check_at_least_one,
    chosen_device,
    chosen_gpus,
    chosen_kinds,
    chosen_precision,
    chosen_tasks,
)
from portal.cli.output import check_known, progress_console, warn
from portal.cli.scores import print_adapters, print_tasks

if TYPE_CHECKING:
    from portal.answers import AnswerConfig
    from portal.artifacts.adapter_matrix import AdapterMatrix
    from portal.artifacts.artifact import Artifact
    from portal.bases.base import Base
    from portal.data.suite import Suite
    from portal.data.token_rows import TokenRow
    from portal.evaluate.loglikelihood import TaskMetrics


ArtifactOption = Annotated[
    str | None,
    typer.Option(
        "--artifact",
        metavar="ARTIFACT",
        help="Artifact whose adapters to score with: a folder, an output of train or port, a hub id.",
    ),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="DIR|URL",
        help="Registry whose adapters to score with; scores of all test rows are kept there.",
    ),
]
AdaptersOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--adapter",
        metavar="DIR",
        help="PEFT adapter to score with, or folder of such adapters. Repeatable.",
    ),
]
SplitOption = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="train|validation|test",
        rich_help_panel=DATA,
        help="Split to score.",
        autocompletion=one_of(completion.splits),
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        rich_help_panel=DATA,
        help="Most rows to score per task, a fixed seeded sample. Default: all.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        rich_help_panel=MACHINE,
        help="Processes that share several adapters. Default: one per GPU, here or on RAY_ADDRESS.",
    ),
]


def evaluate(
    base: BaseOption,
    artifact: ArtifactOption = None,
    latents: LatentsOption = None,
    registry: RegistryOption = None,
    core: CoreOption = None,
    adapter: AdaptersOption = None,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    max_prompt: MaxPromptOption = 768,
    device: DeviceOption = None,
    precision: PrecisionOption = "default",
    gpus_per_worker: GpusPerWorkerOption = 1,
    workers: WorkersOption = None,
    by_task: ByTaskOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score a base on tasks, alone or with adapters.

    Scores of many tasks that share kinds are means by kind.
    """
    from portal.bases.base import load_base
    from portal.bases.files import resolve
    from portal.bases.registry import weights_note
    from portal.evaluate.peft_adapter import find_adapters, score_adapter
    from portal.evaluate.text_metrics import find_metric
    from sweeps.study.context import resolve_precisions

    if sum(option is not None for option in (artifact, adapter, registry)) > 1:
        raise ValueError("--artifact, --adapter and --registry exclude each other: give one of them")
    if core is not None and registry is None:
        raise ValueError("--core names a core of a registry: name that with --registry")
    if latents is not None and artifact is None:
        raise ValueError("--latents adds tasks to an artifact: name it with --artifact")
    where = chosen_device(device)
    gpus = chosen_gpus(gpus_per_worker, where)
    choice = chosen_precision(precision, where)
    check_at_least_one(limit=limit, max_prompt=max_prompt, workers=workers)
    adapters = [found for folder in adapter or () for found in find_adapters(folder)]
    matrix = None
    if registry is None:
        source, examples, chosen = _artifact_and_tasks(artifact, latents, base, tasks, suite, data)
    else:
        matrix, examples, chosen = _matrix_and_tasks(registry, core, base, tasks, suite, data)
        source = matrix.artifact(matrix.find_base(base), chosen)
    rows = read_rows(examples, chosen, split, base, max_prompt=max_prompt, limit=limit)
    answers = examples.answers_of(chosen)
    for metric in {each.metric for each in answers.values()}:
        find_metric(metric)
    weights = resolve_precisions(choice, (base,), device=where)[base]
    if len(adapters) > 1:
        from sweeps.launch.ray_scoring import score_with_workers
        from sweeps.launch.resources import Wanted

        ref, console = resolve(base, precision=weights), progress_console()
        scored = score_with_workers(
            adapters, ref, rows, answers, device=where, wanted=Wanted("cpu" if device == "cpu" else "auto"),
            workers=workers, console=console, gpus_per_worker=gpus,
        )  # fmt: skip
        by_adapter = {str(folder): each for folder, each in zip(adapters, scored, strict=True)}
        print_adapters(base, by_adapter, weights_note(base), as_json=as_json)
        return
    loaded = load_base(base, device=where, precision=weights, num_gpus=gpus)
    if adapters:
        summaries = score_adapter(loaded, adapters[0], rows, answers)
    else:
        summaries = _score(loaded, source, rows, answers)
    kinds = chosen_kinds(examples.kinds, chosen, by_task=by_task)
    print_tasks(base, summaries, weights_note(base), kinds=kinds, as_json=as_json)
    records = {} if source is None else source.task_records
    blind = [task for task in chosen if task in records and records[task].tested is False]
    if blind:
        warn(
            f"{', '.join(blind)}: taught without test rows, so rows that are scored now may be those that "
            "were taught; a registry does not keep such scores"
        )
    if matrix is not None and split == "test" and limit is None:
        kept = {task: each for task, each in summaries.items() if task not in blind}
        if kept:
            _keep_scores(matrix, base, kept)


def _matrix_and_tasks(
    location: str, core: str | None, base: str, tasks: str | None, suite: str | None, data: str | None
) -> "tuple[AdapterMatrix, Suite, tuple[str, ...]]":
    """The adapters of a registry that has the base and the tasks, the suite, and the tasks: else all."""
    from portal.artifacts.adapter_matrix import choose_matrix, read_matrices
    from portal.artifacts.registry import Registry

    matrices = read_matrices(Registry.open(location))
    if tasks is None:
        matrix = choose_matrix(matrices, (base,), (), core)
        return matrix, *artifact_tasks(None, matrix.tasks, suite, data)
    opened, chosen = chosen_tasks(tasks, suite, data)
    return choose_matrix(matrices, (base,), chosen, core), opened, chosen


def _keep_scores(matrix: "AdapterMatrix", base: str, summaries: "Mapping[str, TaskMetrics]") -> None:
    """Add the scores to the matrix's registry."""
    from portal.artifacts.registry import TaskScore

    scores = {
        task: TaskScore(
            metric=each.metric, score=each.score, log_loss=each.log_loss, num_examples=each.num_examples
        )
        for task, each in summaries.items()
    }
    matrix.keep_scores(matrix.find_base(base), scores)


def _artifact_and_tasks(
    location: str | None,
    latents: str | None,
    base: str,
    tasks: str | None,
    suite: str | None,
    data: str | None,
) -> "tuple[Artifact | None, Suite, tuple[str, ...]]":
    """The artifact, if one is named, the suite, and the chosen tasks: by default those of the artifact."""
    if location is None:
        return (None, *chosen_tasks(tasks, suite, data))
    return read_artifact(find_artifact(location, base=base), tasks, suite, data, latents=latents)


def read_artifact(
    folder: str, tasks: str | None, suite: str | None, data: str | None, *, latents: str | None = None
) -> "tuple[Artifact, Suite, tuple[str, ...]]":
    """The artifact, the suite, and the chosen tasks of it, by default all; ValueError for one it lacks."""
    source = load_with_latents(folder, latents)
    opened, chosen = artifact_tasks(tasks, source.config.tasks, suite, data)
    for task in chosen:
        source.task_index(task)
    return source, opened, chosen


def read_rows(
    suite: "Suite", tasks: tuple[str, ...], split: str, base: str, *, max_prompt: int, limit: int | None
) -> "dict[str, tuple[TokenRow, ...]]":
    """The token rows to score, by task; warns of prompts that are cut.

    ValueError for a task without rows in the split, and for rows that the base cannot read.
    """
    from portal.bases.base_config import base_config
    from portal.bases.tokenizer import load_tokenizer
    from portal.data.conversation import has_template, template_note
    from portal.data.sampling import evaluation_rows
    from portal.data.token_rows import encode_examples, extent_of
    from portal.tasks.example import SPLITS

    check_known(split, SPLITS, what="split")
    tokenizer = load_tokenizer(base)
    if not has_template(tokenizer) and any(suite.has_conversations(task) for task in tasks):
        warn(template_note(base))
    rows = {}
    for task in tasks:
        examples = ((example, split) for example in suite.examples(task, split))
        encoded = encode_examples(examples, tokenizer, max_prompt=max_prompt)
        if not encoded:
            raise ValueError(f"task {task!r} has no rows in split {split!r}")
        encoded.sort(key=lambda row: row.id)
        rows[task] = evaluation_rows(encoded, limit or len(encoded))
        cut = sum(row.truncated > 0 for row in rows[task])
        if cut:
            warn(f"task {task!r}: {cut} of {len(rows[task])} prompts are cut to {max_prompt} tokens")
    every = [row for own in rows.values() for row in own]
    extent_of(every).check(base, base_config(base).get_text_config())
    return rows


def _score(
    base: "Base",
    source: "Artifact | None",
    rows: "Mapping[str, Sequence[TokenRow]]",
    answers: "Mapping[str, AnswerConfig]",
) -> "dict[str, TaskMetrics]":
    """Metrics by task of the base, with the artifact's adapters where there is one."""
    from portal.evaluate.tasks import score_tasks

    if source is None:
        return score_tasks(base, rows, answers)
    summaries: dict[str, TaskMetrics] = {}
    for task, own in rows.items():
        with source.applied(base, task):
            summaries |= score_tasks(base, {task: own}, answers)
    return summaries
