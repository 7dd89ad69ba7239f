"""`portal adapters`: PEFT adapters of a registry, for many bases and tasks in one go."""

from pathlib import Path
from typing import Annotated

import typer

from portal.cli.export import claim_folder
from portal.cli.options import CoreOption
from portal.cli.output import comma_list


def adapters(
    registry: Annotated[
        str,
        typer.Option(
            "--registry", metavar="DIR|URL", help="Registry: a folder, or a URL in an object store."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Parent of the folders BASE/TASK.")],
    bases: Annotated[
        str | None,
        typer.Option("--for", metavar="BASES", help="Bases, comma-separated. Default: all of the core."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", metavar="TASKS", help="Tasks, comma-separated. Default: all of the core."),
    ] = None,
    core: CoreOption = None,
) -> None:
    """Write a PEFT adapter for every base and every task, as OUT/BASE/TASK. No base is loaded."""
    from portal.artifacts.adapter_matrix import choose_matrix, read_matrices
    from portal.artifacts.registry import Registry
    from portal.artifacts.serving import known_servers, write_routing
    from portal.learners.hypernet import artifact_subfolder

    named = () if bases is None else comma_list(bases, what="base")
    wanted = None if tasks is None else comma_list(tasks, what="task")
    matrix = choose_matrix(read_matrices(Registry.open(registry)), named, wanted, core)
    names = wanted or matrix.tasks
    known_servers(out)
    folders: dict[str, dict[str, Path]] = {}
    for base in [matrix.find_base(name) for name in named] or matrix.bases:
        folders[base] = {task: out / artifact_subfolder(base) / task for task in names}
        for task, folder in folders[base].items():
            claim_folder(folder, matrix.converters[base].inspection.config.adapter_record(task))
    for base, places in folders.items():
        artifact = matrix.artifact(base, names)
        for task, folder in places.items():
            artifact.export_peft(task, folder)
            typer.echo(f"{base}, {task}: {folder}")
    typer.echo(f"which server has which adapter: {write_routing(out)}")
