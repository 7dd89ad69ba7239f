"""`portal train` makes an artifact, `portal port` carries it to a new base: one run each, no study file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import options
from portal.cli.artifacts import list_artifacts, register, warn_of_unverified
from portal.cli.exit_codes import FAILED
from portal.cli.output import comma_list, print_table, progress_console, warn
from portal.config import Activations
from portal.lazy import no_collection
from portal.recipes import RecipeName

if TYPE_CHECKING:
    from sweeps.launch.single_run import SingleRun

FROZEN, ADAPTED = "frozen base", "adapter"
"""What is scored."""
ExamplesOption = Annotated[
    int | None,
    typer.Option(
        "--examples",
        rich_help_panel=options.TRAINING,
        help="Most training rows per task; fewer are a prefix of more. Default: the recipe's.",
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        rich_help_panel=options.TRAINING,
        help="Passes over the longest task. Default: the recipe's.",
    ),
]
RecipeOption = Annotated[
    RecipeName,
    typer.Option(
        "--recipe", rich_help_panel=options.TRAINING, help="Recipe for all settings that are not given here."
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        rich_help_panel=options.TRAINING,
        help="Seed of initial values, of the subset of rows and of their order.",
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Output folder; the same command continues in it.")
]
NoBaseOption = Annotated[
    bool, typer.Option("--no-base", help="Skip scoring the frozen base on the same rows, for comparison.")
]


def train(
    source: Annotated[
        str,
        typer.Option(
            metavar="BASES",
            help="Bases to train on jointly, comma-separated.",
            autocompletion=options.some_of("portal.bases.registry:known_bases"),
        ),
    ],
    out: OutOption,
    tasks: options.Tasks = None,
    suite: options.SuiteName = None,
    data: options.Data = None,
    recipe: RecipeOption = "paper",
    examples: ExamplesOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = 0,
    modules: options.Modules = "q,v",
    rank: Annotated[
        int,
        typer.Option(
            rich_help_panel=options.ADAPTER, help="LoRA rank of the generated adapters; alpha is twice that."
        ),
    ] = 8,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder",
            metavar="ENCODER",
            rich_help_panel=options.ADAPTER,
            help="Learn latents from the tasks' descriptions, too, so that new tasks can be described: "
            "minilm, a folder or a hub id of sentence-transformers. Needs the extra `text`.",
        ),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = "default",
    activations: options.Activations = "keep",
    gpus_per_worker: options.GpusPerWorker = 1,
    no_base: NoBaseOption = False,
    registry: options.Registry = None,
) -> None:
    """Train task latents, core and converters jointly on source bases.

    Leaves an artifact for each base, OUT/artifact/BASE, and prints its test scores.
    """
    names, bases = options.chosen_modules(modules), comma_list(source, what="base")
    opened, chosen = options.chosen_tasks(tasks, suite, data)
    with no_collection():  # what loads torch, after what can be wrong without it
        from sweeps.launch.single_run import TrainRequest, source_run

    where, weights, gpus = options.chosen_place(device, precision, gpus_per_worker)
    request = TrainRequest(opened, chosen, recipe, examples, epochs, seed, weights, where, out)
    single = source_run(bases, request, modules=names, rank=rank, text_encoder=text_encoder)
    check_unnamed_device(single, out, named=device, device=where)
    execute(single, out, where, activations, gpus=gpus, with_base=not no_base, registry=registry)


def port(
    artifact: Annotated[str, options.artifact_argument("Artifact to start from")],
    to: Annotated[
        str, options.base_option("Base to port to: a short name, a hub id, a model folder or a GGUF file.")
    ],
    out: OutOption,
    recipe: RecipeOption = "paper",
    examples: ExamplesOption = None,
    seed: SeedOption = 0,
    tasks: options.Tasks = None,
    suite: options.SuiteName = None,
    data: options.Data = None,
    epochs: EpochsOption = None,
    device: options.Device = None,
    precision: options.Precision = "default",
    activations: options.Activations = "keep",
    gpus_per_worker: options.GpusPerWorker = 1,
    no_base: NoBaseOption = False,
    registry: options.Registry = None,
) -> None:
    """Refit a fresh converter on another base, with core and latents frozen.

    Leaves the new artifact as OUT/artifact, and prints the test scores of the tasks that it was fitted on,
    the artifact's or those of --tasks. It keeps the latents of all, and `portal export` works for each.
    """
    with no_collection():
        from portal.artifacts.artifact import Artifact
        from sweeps.launch.single_run import TrainRequest, port_run

    where, weights, gpus = options.chosen_place(device, precision, gpus_per_worker)
    location = next(iter(list_artifacts(artifact).values()))
    opened, chosen = options.artifact_tasks(tasks, Artifact.load(location).config.tasks, suite, data)
    request = TrainRequest(opened, chosen, recipe, examples, epochs, seed, weights, where, out)
    single = port_run(location, to, request)
    warn_of_unverified(single.sources.values())
    check_unnamed_device(single, out, named=device, device=where)
    execute(single, out, where, activations, gpus=gpus, with_base=not no_base, registry=registry)


def check_unnamed_device(single: "SingleRun", out: Path, *, named: str | None, device: str) -> None:
    """Warn when training is on the CPU because torch cannot use the GPUs, unless the device was `named`.

    ValueError where a base is so large that this must be an accident. Of a run that is finished in `out`
    nothing is said.
    """
    from portal.device import unusable_gpus
    from sweeps.planning.checks import check_sizes
    from sweeps.store.run_store import RunStore

    run = single.config
    if named is not None or device != "cpu" or run.train is None or RunStore(out).is_done(run.key):
        return
    if unusable := unusable_gpus():
        warn("; ".join(unusable))
    advice = "torch finds no GPU on this machine; --device cpu trains on the CPU all the same"
    check_sizes(run.bases, "cpu", advice=advice)


def execute(
    single: "SingleRun",
    out: Path,
    device: str,
    activations: Activations,
    *,
    gpus: int,
    with_base: bool,
    registry: str | None,
) -> dict[str, list[dict[str, Any]]]:
    """Finish the run in `out`, leave its artifact there, print its scores, return them; exit 3 if it fails.

    Each base is divided over so many `gpus`. Scores are result rows on test rows: FROZEN, where they were
    asked for, and ADAPTED.

    With a registry, the artifact of every base is added to it, with its test scores.
    """
    from portal.artifacts.registry import Registry
    from portal.device import own_threads
    from sweeps.launch.single_run import finish_run, score_frozen_bases
    from sweeps.planning.checks import coverage_notes, leak_warnings
    from sweeps.results.run_artifacts import final_scores
    from sweeps.store.run_store import RunStore

    run, console, threads = single.config, progress_console(), own_threads()
    shelf = None if registry is None else Registry.open(registry)
    for line in leak_warnings(single.suite, run.data.tasks):
        warn(line)
    for note in coverage_notes([run]):
        console.print(note)
    try:
        place = finish_run(
            single, out, console, device=device, gpus=gpus, threads=threads, activations=activations
        )
    except ValueError:
        failure = RunStore(out).failure(run.key)
        if failure is None:
            raise
        warn(f"{run.describe()} ({run.key}) failed: {failure.cause}; log: {failure.log}")
        raise typer.Exit(FAILED) from None
    scores = {ADAPTED: final_scores(out, run)}
    if with_base:
        score_frozen_bases(single, out, console, device=device, threads=threads, gpus=gpus)
        frozen = [row for each in single.frozen_bases for row in final_scores(out, each)]
        scores = {FROZEN: frozen, **scores}
    if any(scores.values()):
        _print_scores(scores)
    typer.echo(f"artifact: {place}")
    if shelf is not None:
        for member in register(shelf, str(out)):
            typer.echo(f"added to {shelf.folder}: {member.digest}")
    return scores


def _print_scores(scores: dict[str, list[dict[str, Any]]]) -> None:
    """Test scores, the mean over tasks, of each base without and with the adapter; what its weights are."""
    from portal.bases.registry import weights_note

    every = [row for rows in scores.values() for row in rows]
    metrics = [
        metric
        for metric in ("chance", "acc", "acc_norm", "score", "log_loss")
        if all(row[metric] is not None for row in every)
    ]
    if "acc_norm" in metrics:
        metrics.remove("score")
    bases = list(dict.fromkeys(row["base"] for rows in scores.values() for row in rows))
    table = []
    for base in bases:
        for what, rows in scores.items():
            own = [row for row in rows if row["base"] == base]
            means = [sum(row[metric] for row in own) / len(own) for metric in metrics]
            table.append([base, what, str(len(own)), *(f"{mean:.4f}" for mean in means)])
    print_table(["base", "scored", "tasks", *metrics], table)
    for base in bases:
        note = weights_note(base)
        if note is not None:
            typer.echo(f"{base}: {note}")
