"""`portal teach`: new tasks for an artifact, by their latents alone."""

from typing import Annotated

import typer

from portal.cli import completion
from portal.cli.artifacts import find_artifact
from portal.cli.completion import one_of
from portal.cli.options import (
    TRAINING,
    ActivationsOption,
    DataOption,
    DeviceOption,
    PrecisionOption,
    RegistryOption,
    SuiteOption,
    chosen_device,
    chosen_precision,
    chosen_tasks,
)
from portal.cli.training import (
    ExamplesOption,
    NoBaseOption,
    OutOption,
    SeedOption,
    execute,
)


def teach(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT", help="Artifact to teach: a folder, an output of train or port, or a hub id."
        ),
    ],
    on: Annotated[
        str,
        typer.Option(
            metavar="BASE",
            help="Base to learn the tasks on, one that the artifact was made for.",
            autocompletion=one_of(completion.bases),
        ),
    ],
    tasks: Annotated[
        str,
        typer.Option(
            metavar="TASKS", help="New tasks, groups or task files (.yaml, .jsonl), comma-separated."
        ),
    ],
    out: OutOption,
    examples: ExamplesOption = None,
    seed: SeedOption = 0,
    suite: SuiteOption = None,
    data: DataOption = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", rich_help_panel=TRAINING, help="Rounds of 200 steps. Default: 1."),
    ] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = "default",
    activations: ActivationsOption = "keep",
    no_base: NoBaseOption = False,
    registry: RegistryOption = None,
) -> None:
    """Learn new tasks on one base, with core and converter frozen: only a latent per task is fitted.

    Leaves the artifact with its old tasks, bit for bit, and the new ones as OUT/artifact, and prints the
    new tasks' test scores.
    """
    from sweeps.launch.single_run import TrainRequest, teach_run

    where = chosen_device(device)
    weights = chosen_precision(precision, where)
    opened, chosen = chosen_tasks(tasks, suite, data)
    request = TrainRequest(
        opened, chosen, examples=examples, epochs=epochs, seed=seed, precision=weights, device=where, out=out
    )
    single = teach_run(find_artifact(artifact, base=on), on, request)
    execute(single, out, where, activations, with_base=not no_base, registry=registry)
