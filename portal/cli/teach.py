"""`portal teach`: new tasks for an artifact, by their latents alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import options
from portal.cli.artifacts import find_artifact, warn_of_unverified
from portal.cli.output import print_gains, warn, warn_of_reach
from portal.cli.training import (
    ADAPTED,
    FROZEN,
    NoBaseOption,
    OutOption,
    SeedOption,
    check_unnamed_device,
    execute,
)
from portal.lazy import no_collection
from portal.train_config import LatentStart

if TYPE_CHECKING:
    from portal.data.suites import Suite

_USES = {"validation": "validate", "test": "test"}
_TYPO = 0.9
"""Names that are so alike, by difflib, are taken for one that is mistyped."""


def teach(
    artifact: Annotated[str, options.artifact_argument("Artifact to teach")],
    on: Annotated[
        str, options.base_option("Base to learn the tasks on, one that the artifact was made for.")
    ],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="TASKS", help="New tasks, groups or task files (.yaml, .jsonl), comma-separated."
        ),
    ],
    out: OutOption,
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples",
            min=0,
            rich_help_panel=options.TRAINING,
            help="Most training rows per task; fewer are a prefix of more. 0: by the description alone. "
            "Default: the recipe's.",
        ),
    ] = None,
    no_hold_out: Annotated[
        bool,
        typer.Option(
            "--no-hold-out",
            rich_help_panel=options.TRAINING,
            help="Train on all rows of a task file that names no validation and test rows. Otherwise a tenth "
            "and a fifth are held out, one at the least; without any, the last step is kept and no gain is "
            "measured.",
        ),
    ] = False,
    seed: SeedOption = 0,
    suite: options.SuiteName = None,
    data: options.Data = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            rich_help_panel=options.TRAINING,
            help="Epochs of 50 steps; each task keeps the latent of the one that its validation rows prefer. "
            "0, with --start nearest: the latent that fits its first 16 rows best, as it is. Default: 4.",
        ),
    ] = None,
    start: Annotated[
        LatentStart | None,
        typer.Option(
            rich_help_panel=options.TRAINING,
            help="Where a new latent starts: at the mean of the artifact's, at the one that fits the rows "
            "best, or at what its description stands for. Default: mean; with --describe, description.",
        ),
    ] = None,
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What the task is, in a sentence, in place of the descriptions in its file; for artifacts "
            "that were trained with a text encoder.",
        ),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = "default",
    activations: options.Activations = "keep",
    gpus_per_worker: options.GpusPerWorker = 1,
    no_base: NoBaseOption = False,
    registry: options.Registry = None,
) -> None:
    """Learn new tasks on one base, with core and converter frozen: a latent per task is fitted.

    With 0 examples the latent is what the task's description stands for, and nothing is trained. With
    --describe, too, the task needs no rows: --tasks NAME names it. With --start nearest --epochs 0 a task
    gets the latent of the one whose adapter fits its rows best.

    Leaves the artifact with its old tasks, bit for bit, and the new ones as OUT/artifact, and prints what
    each new task has gained over the frozen base on test rows. Warns of tasks that the core seems unable to
    express, because their own training rows are not fitted.
    """
    with no_collection():
        from portal.data.suites import suite_without_rows
        from sweeps.launch.single_run import TrainRequest, teach_run, training_fits

    where, weights, gpus = options.chosen_place(device, precision, gpus_per_worker)
    if examples == 0 and describe is not None and suite is None and data is None and _is_new_name(tasks):
        opened = suite_without_rows(tasks.strip())
        chosen = opened.tasks
    else:
        opened, chosen = options.chosen_tasks(tasks, suite, data, holds_out=not no_hold_out)
        if no_hold_out and not opened.files:
            raise ValueError("--no-hold-out is for task files: name one in --tasks")
        _warn_of_few_rows(opened, chosen, examples, trains=examples != 0 and epochs != 0)
    request = TrainRequest(
        opened, chosen, examples=examples, epochs=epochs, seed=seed, precision=weights, device=where, out=out
    )
    begin = start or ("mean" if describe is None else "description")
    single = teach_run(find_artifact(artifact, base=on), on, request, start=begin, description=describe)
    warn_of_unverified(single.sources.values())
    with_base = not no_base and any(opened.examples(task, "test") for task in chosen)
    check_unnamed_device(single, out, named=device, device=where)
    scores = execute(single, out, where, activations, gpus=gpus, with_base=with_base, registry=registry)
    if with_base:
        print_gains(scores[FROZEN], scores[ADAPTED])
    unscored = [task for task in chosen if not opened.examples(task, "test")]
    if unscored:
        typer.echo(f"no test rows: what was gained is not known of {', '.join(unscored)}")
    if epochs == 0:
        _print_lenders(out, chosen)
    if examples != 0:
        warn_of_reach(training_fits(single, out, device=where, gpus=gpus))


def _print_lenders(out: Path, tasks: tuple[str, ...]) -> None:
    """Say whose latent each new task has."""
    from portal.artifacts.artifact import Artifact
    from sweeps.launch.single_run import ARTIFACT

    latents = Artifact.load(out / ARTIFACT).latents
    for task in tasks:
        lender = next(name for name in latents if name not in tasks and latents[name].equal(latents[task]))
        typer.echo(f"{task} has the latent of {lender}")


def _is_new_name(tasks: str) -> bool:
    """Whether one task is named that no suite and no file has, nor one with a mistyped name of that kind."""
    from difflib import get_close_matches

    from portal.data.suites import known_names
    from portal.tasks.task_file import is_task_file

    name = tasks.strip()
    if "," in name or is_task_file(name):
        return False
    return not get_close_matches(name, known_names(), cutoff=_TYPO)


def _warn_of_few_rows(suite: "Suite", tasks: tuple[str, ...], examples: int | None, *, trains: bool) -> None:
    """Warn of tasks with fewer training rows than asked for, and of those whose epoch nobody can choose."""
    for task in tasks:
        train, held_out = len(suite.examples(task, "train")), suite.carved.get(task, ())
        if examples is not None and train < examples:
            why = ""
            if held_out:
                counts = [(len(suite.examples(task, split)), _USES[split]) for split in held_out]
                told = " and ".join(f"{count} to {use}" for count, use in counts)
                told = told.replace(" to", " row to" if counts[0][0] == 1 else " rows to", 1)
                verb, them = ("is", "it") if sum(count for count, _ in counts) == 1 else ("are", "them")
                why = f"; {told} {verb} held out, and --no-hold-out trains on {them}, too"
            warn(f"task {task!r}: {train} training rows are there, {examples} were asked for{why}")
    blind = [task for task in tasks if not suite.examples(task, "validation")]
    if trains and blind and len(blind) < len(tasks):
        warn(f"no validation rows: {', '.join(blind)}; so every task keeps the latent of the last step")
