"""`portal eval` scores a base, alone or with adapters; `portal conflicts` compares the gradients of tasks."""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portal.cli import options
from portal.cli.artifacts import LatentsOption, find_artifact, load_with_latents
from portal.cli.output import print_adapters, print_table, print_tasks, progress_console, warn

if TYPE_CHECKING:
    from portal.artifacts.artifact import Artifact
    from portal.artifacts.registry import AdapterMatrix
    from portal.data.suites import Suite
    from portal.data.token_rows import TokenRow

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
        "--adapter", metavar="DIR", help="PEFT adapter to score with, or folder of such adapters. Repeatable."
    ),
]
SplitOption = Annotated[
    Literal["train", "validation", "test"],
    typer.Option("--split", rich_help_panel=options.DATA, help="Split to score."),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        rich_help_panel=options.DATA,
        help="Most rows to score per task, a fixed seeded sample. Default: all.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        rich_help_panel=options.MACHINE,
        help="Processes that share several adapters. Default: one per GPU, here or on RAY_ADDRESS.",
    ),
]


def evaluate(
    base: options.Base,
    artifact: ArtifactOption = None,
    latents: LatentsOption = None,
    registry: RegistryOption = None,
    core: options.Core = None,
    adapter: AdaptersOption = None,
    tasks: options.Tasks = None,
    suite: options.SuiteName = None,
    data: options.Data = None,
    split: SplitOption = "test",
    limit: LimitOption = None,
    max_prompt: options.MaxPrompt = 768,
    device: options.Device = None,
    precision: options.Precision = "default",
    gpus_per_worker: options.GpusPerWorker = 1,
    workers: WorkersOption = None,
    by_task: options.ByTask = False,
    as_json: options.Json = False,
) -> None:
    """Score a base on tasks, alone or with adapters.

    Scores of many tasks that share kinds are means by kind.
    """
    from portal.bases.base import load_base
    from portal.bases.files import resolve
    from portal.bases.registry import weights_note
    from portal.evaluate.tasks import find_adapters, score_adapter, score_tasks
    from portal.evaluate.text_metrics import find_metric
    from sweeps.study.context import resolve_precisions

    if sum(option is not None for option in (artifact, adapter, registry)) > 1:
        raise ValueError("--artifact, --adapter and --registry exclude each other: give one of them")
    if core is not None and registry is None:
        raise ValueError("--core names a core of a registry: name that with --registry")
    if latents is not None and artifact is None:
        raise ValueError("--latents adds tasks to an artifact: name it with --artifact")
    where, choice, gpus = options.chosen_place(device, precision, gpus_per_worker)
    adapters = [each for folder in adapter or () for each in find_adapters(folder)]
    matrix, source = None, None
    if registry is not None:
        matrix, examples, chosen = _matrix_and_tasks(registry, core, base, tasks, suite, data)
        source = matrix.artifact(matrix.find_base(base), chosen)
    elif artifact is not None:
        found = find_artifact(artifact, base=base)
        source, examples, chosen = read_artifact(found, tasks, suite, data, latents=latents)
    else:
        examples, chosen = options.chosen_tasks(tasks, suite, data)
    rows = read_rows(examples, chosen, split, base, max_prompt=max_prompt, limit=limit)
    answers = examples.answers_of(chosen)
    for metric in {each.metric for each in answers.values()}:
        find_metric(metric)
    weights = resolve_precisions(choice, (base,), device=where)[base]
    if len(adapters) > 1:
        from sweeps.launch.executors import Wanted
        from sweeps.launch.ray_scoring import score_with_workers

        ref, console = resolve(base, precision=weights), progress_console()
        scored = score_with_workers(
            adapters, ref, rows, answers, device=where, wanted=Wanted("cpu" if device == "cpu" else "auto"),
            workers=workers, console=console, gpus_per_worker=gpus,
        )  # fmt: skip
        by_adapter = dict(zip(map(str, adapters), scored, strict=True))
        print_adapters(base, by_adapter, weights_note(base), as_json=as_json)
        return
    loaded = load_base(base, device=where, precision=weights, num_gpus=gpus)
    if adapters:
        summaries = score_adapter(loaded, adapters[0], rows, answers)
    elif source is None:
        summaries = score_tasks(loaded, rows, answers)
    else:
        summaries = {}
        for task, own in rows.items():
            with source.applied(loaded, task):
                summaries |= score_tasks(loaded, {task: own}, answers)
    kinds = options.chosen_kinds(examples.kinds, chosen, by_task=by_task)
    print_tasks(base, summaries, weights_note(base), kinds=kinds, as_json=as_json)
    records = {} if source is None else source.task_records
    blind = [task for task in chosen if task in records and records[task].tested is False]
    if blind:
        warn(
            f"{', '.join(blind)}: taught without test rows, so rows that are scored now may be those that "
            "were taught; a registry does not keep such scores"
        )
    if matrix is not None and split == "test" and limit is None:
        from portal.artifacts.registry import TaskScore

        kept = {
            task: TaskScore.model_validate(each, from_attributes=True)
            for task, each in summaries.items()
            if task not in blind
        }
        if kept:
            matrix.keep_scores(matrix.find_base(base), kept)


def _matrix_and_tasks(
    location: str, core: str | None, base: str, tasks: str | None, suite: str | None, data: str | None
) -> "tuple[AdapterMatrix, Suite, tuple[str, ...]]":
    """The adapters of a registry that has the base and the tasks, the suite, and the tasks: else all."""
    from portal.artifacts.registry import Registry, choose_matrix, read_matrices

    matrices = read_matrices(Registry.open(location))
    if tasks is None:
        matrix = choose_matrix(matrices, (base,), (), core)
        return matrix, *options.artifact_tasks(None, matrix.tasks, suite, data)
    opened, chosen = options.chosen_tasks(tasks, suite, data)
    return choose_matrix(matrices, (base,), chosen, core), opened, chosen


def read_artifact(
    folder: str, tasks: str | None, suite: str | None, data: str | None, *, latents: str | None = None
) -> "tuple[Artifact, Suite, tuple[str, ...]]":
    """The artifact, the suite, and the chosen tasks of it, by default all; ValueError for one it lacks."""
    source = load_with_latents(folder, latents)
    opened, chosen = options.artifact_tasks(tasks, source.config.tasks, suite, data)
    for task in chosen:
        source.task_index(task)
    return source, opened, chosen


def read_rows(
    suite: "Suite", tasks: tuple[str, ...], split: str, base: str, *, max_prompt: int, limit: int | None
) -> "dict[str, tuple[TokenRow, ...]]":
    """The token rows to score, by task; warns of prompts that are cut.

    ValueError for a task without rows in the split, and for rows that the base cannot read.
    """
    from portal.bases.family import base_config, load_tokenizer
    from portal.data.conversation import has_template, template_note
    from portal.data.sampling import evaluation_rows
    from portal.data.token_rows import encode_examples, extent_of

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


SHOWN = 5
"""Pairs of tasks that are named, the most opposed first."""


def conflicts(
    artifact: options.AnyArtifact,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the matrix of cosines as CSV.")
    ] = None,
    tasks: options.Tasks = None,
    suite: options.SuiteName = None,
    data: options.Data = None,
    rows: Annotated[
        int,
        typer.Option("--rows", min=1, rich_help_panel=options.DATA, help="Training rows per task, at most."),
    ] = 64,
    max_prompt: options.MaxPrompt = 768,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Print how far tasks compete for an artifact's core: the cosines of their gradients of it.

    At 1 what helps one task helps the other, at 0 they do not touch, below 0 what helps one harms the other.
    """
    from portal.bases.base import load_base
    from portal.learners.core_cosines import core_cosines
    from portal.storage.atomic import write_bytes_atomic

    where = options.chosen_device(device)
    opened, examples, chosen = read_artifact(find_artifact(artifact), tasks, suite, data)
    if len(chosen) < 2:
        raise ValueError("cosines are between tasks: name at least two")
    name = opened.config.base_model_name_or_path
    encoded = read_rows(examples, chosen, "train", name, max_prompt=max_prompt, limit=rows)
    cosines = core_cosines(opened, load_base(name, device=where), encoded).tolist()
    check_gradients(chosen, cosines)
    if out is not None:
        write_bytes_atomic(out, _as_csv(chosen, cosines).encode())
    if as_json:
        numbers = [[None if math.isnan(value) else value for value in row] for row in cosines]
        typer.echo(json.dumps({"base": name, "tasks": list(chosen), "cosines": numbers}))
    else:
        print_summary(chosen, cosines, examples.kinds_of(chosen))


def check_gradients(tasks: Sequence[str], cosines: Sequence[Sequence[float]]) -> None:
    """Name the tasks whose gradient is zero; ValueError where fewer than two have another."""
    without = [task for index, task in enumerate(tasks) if math.isnan(cosines[index][index])]
    if len(tasks) - len(without) < 2:
        raise ValueError("fewer than two tasks have a gradient of the core: is the artifact untrained?")
    if without:
        warn(f"no gradient of the core: {', '.join(without)}")


def print_summary(tasks: Sequence[str], cosines: Sequence[Sequence[float]], kinds: Mapping[str, str]) -> None:
    """Means over pairs, of one kind and others where tasks have kinds, by kind, and the most opposed pairs.

    Tasks whose gradient is zero are left out.
    """
    pairs = [
        (cosines[i][j], tasks[i], tasks[j])
        for i, j in combinations(range(len(tasks)), 2)
        if not math.isnan(cosines[i][j])
    ]

    def are_alike(one: str, other: str) -> bool:
        return one in kinds and kinds[one] == kinds.get(other)

    alike = [pair for pair in pairs if are_alike(*pair[1:])]
    others = [pair for pair in pairs if not are_alike(*pair[1:])]
    groups = {"all pairs": pairs}
    if alike and others:
        groups |= {"pairs of one kind": alike, "other pairs": others}
    print_table(
        ("", "pairs", "mean cosine", "below 0"),
        [
            (
                label,
                str(len(own)),
                f"{fmean(cosine for cosine, *_ in own):z.3f}",
                f"{100 * sum(cosine < 0 for cosine, *_ in own) / len(own):.0f} %",
            )
            for label, own in groups.items()
        ],
    )
    if alike and others:
        _print_kinds(pairs, kinds)
    typer.echo("the most opposed:")
    for cosine, one, other in sorted(pairs)[:SHOWN]:
        typer.echo(f"  {cosine:z.3f}  {one}, {other}")


def _print_kinds(pairs: Sequence[tuple[float, str, str]], kinds: Mapping[str, str]) -> None:
    """For every kind the mean cosine of its tasks with one another, with other kinds', and the least kind."""
    cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cosine, one, other in pairs:
        if one in kinds and other in kinds:
            for pair in {(kinds[one], kinds[other]), (kinds[other], kinds[one])}:
                cosines[pair].append(cosine)
    rows = []
    for kind in sorted({kind for kind, _ in cosines}):
        own = cosines.get((kind, kind))
        others = {other: values for (one, other), values in cosines.items() if one == kind != other}
        if others:
            least = min(others, key=lambda other: fmean(others[other]))
            all_others = fmean(value for values in others.values() for value in values)
            own_mean = f"{fmean(own):z.3f}" if own else "-"
            rows.append((kind, own_mean, f"{all_others:z.3f}", f"{fmean(others[least]):z.3f} ({least})"))
    if rows:
        print_table(("mean cosine of the kind", "own tasks", "other kinds", "least, with"), rows)


def _as_csv(tasks: Sequence[str], cosines: Sequence[Sequence[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", *tasks])
    for task, row in zip(tasks, cosines, strict=True):
        writer.writerow([task, *("" if math.isnan(value) else value for value in row)])
    return text.getvalue()
