"""`portal registry`: what the artifacts of a registry make and miss; `portal adapters`: its PEFT adapters."""

import json
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import options
from portal.cli.artifacts import register
from portal.cli.export import claim_folder
from portal.cli.output import comma_list, print_table
from portal.messages import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portal.artifacts.registry import AdapterMatrix


_SHORT = 12
_FEW = 3
"""Tasks that a hint names."""


def registry(
    folder: Annotated[
        str, typer.Argument(metavar="REGISTRY", help="Folder of the registry, or its URL in an object store.")
    ],
    add: Annotated[
        list[str] | None,
        typer.Option(
            "--add",
            metavar="ARTIFACT",
            help="Artifact to copy there first, with its run's test scores: a folder, an output of train, "
            "port or teach, a hub id; or the output of a study, for all of its artifacts. Repeatable.",
        ),
    ] = None,
    suite: options.SuiteName = None,
    by_task: options.ByTask = False,
    as_json: options.Json = False,
) -> None:
    """Print the tasks, bases and scores of all artifacts of a registry, by core.

    Every task of a core has an adapter on every base of that core. No weights are read.
    """
    from portal.artifacts.registry import Registry, read_matrices

    opened = Registry.open(folder)
    for location in add or ():
        register(opened, location)
    matrices = read_matrices(opened)
    if as_json:
        typer.echo(json.dumps({"cores": [_as_json(each) for each in matrices]}, indent=2))
        return
    for matrix in matrices:
        _print_core(matrix, suite, by_task=by_task)
    for line in _missing(matrices, folder, suite):
        typer.echo(line)


def _print_core(matrix: "AdapterMatrix", suite: str | None, *, by_task: bool) -> None:
    size = f"{counted(len(matrix.tasks), 'task')} on {counted(len(matrix.bases), 'base')}"
    typer.echo(f"core {matrix.core[:_SHORT]}: {size}\n")
    members = [
        [
            str(member.number),
            member.digest,
            member.record.lineage.method,
            member.base,
            f"{member.added:%Y-%m-%d %H:%M}",
            str(len(member.inspection.tasks)),
            str(len(member.inspection.calibrated or ())),
        ]
        for member in matrix.members
    ]
    print_table(["number", "artifact", "made by", "base", "added (UTC)", "tasks", "calibrated"], members)
    typer.echo("")
    kinds = options.chosen_kinds(options.known_kinds(matrix.tasks, suite), matrix.tasks, by_task=by_task)
    groups = kinds or {task: (task,) for task in matrix.tasks}
    lines = [
        [name, *([str(len(tasks))] if kinds else []), *(_shown(matrix, base, tasks) for base in matrix.bases)]
        for name, tasks in groups.items()
    ]
    print_table([*(["kind", "tasks"] if kinds else ["task"]), *matrix.bases], lines)
    typer.echo(
        f"\n{_metrics(matrix)} on test rows, +: by a latent from elsewhere, without a row of the task on "
        "this base; ?: not scored; of N: the mean of the N tasks that are scored\n"
    )


def _metrics(matrix: "AdapterMatrix") -> str:
    """What the scores are: one metric, or each task's own."""
    cells = [matrix.cell(base, task) for base in matrix.bases for task in matrix.tasks]
    metrics = sorted({cell.score.metric for cell in cells if cell.score is not None})
    if len(metrics) > 1:
        return f"scores by the metric of each task ({', '.join(metrics)})"
    return metrics[0] if metrics else "scores"


def _shown(matrix: "AdapterMatrix", base: str, tasks: tuple[str, ...]) -> str:
    """The mean score, what it leaves out, and whether no row of the tasks was seen on the base."""
    cells = [matrix.cell(base, task) for task in tasks]
    scores = [cell.score.score for cell in cells if cell.score is not None]
    text = f"{mean(scores):.3f}" if scores else "?"
    if 0 < len(scores) < len(cells):
        text += f" of {len(scores)}"
    return text if any(cell.calibrated for cell in cells) else f"{text}+"


def _missing(matrices: "list[AdapterMatrix]", folder: str, suite: str | None) -> list[str]:
    """What could be there: bases and tasks that another core has, and scores."""
    lines = []
    bases = {base: None for matrix in matrices for base in matrix.bases}
    tasks = {task: None for matrix in matrices for task in matrix.tasks}
    of_suite = "" if suite is None else f" --suite {suite}"
    for matrix in matrices:
        core = f"core {matrix.core[:_SHORT]}"
        first = matrix.members[0]
        if lacking := [base for base in bases if base not in matrix.bases]:
            lines.append(
                f"{core} has no {', '.join(lacking)}: portal port {first.folder} --to {lacking[0]} "
                f"--out OUT --registry {folder}"
            )
        if lacking := [task for task in tasks if task not in matrix.tasks]:
            lines.append(
                f"{core} has no {', '.join(lacking)}{_elsewhere(lacking[:1], suite)}: portal teach "
                f"{first.folder} --on {first.base} --tasks {lacking[0]}{of_suite} --out OUT "
                f"--registry {folder}"
            )
        chosen = f" --core {matrix.core[:_SHORT]}" if len(matrices) > 1 else ""
        for base in matrix.bases:
            unscored = [task for task in matrix.tasks if matrix.cell(base, task).score is None]
            if unscored:
                few = unscored[:_FEW]
                lines.append(
                    f"{core} has no score of {counted(len(unscored), 'task')} on {base}"
                    f"{_elsewhere(few, suite)}: portal eval --registry {folder}{chosen} --base {base} "
                    f"--tasks {','.join(few)}{of_suite}"
                )
    return lines


def _elsewhere(tasks: "Sequence[str]", suite: str | None) -> str:
    """What to say of tasks that have no rows in a suite; the registry does not know where they came from."""
    from portal.data.suites import open_suite_of

    def is_here(task: str) -> bool:
        try:
            return bool(open_suite_of(suite, (task,))[1])
        except ValueError:  # the folder that PORTAL_DATA names is not there
            return False

    lacking = [task for task in tasks if not is_here(task)]
    return f" ({', '.join(lacking)}: give the task file, or --data)" if lacking else ""


def _as_json(matrix: "AdapterMatrix") -> dict[str, Any]:
    cells = {(base, task): matrix.cell(base, task) for base in matrix.bases for task in matrix.tasks}
    return {
        "core_sha256": matrix.core,
        "artifacts": [
            {
                "artifact": member.digest,
                "folder": str(member.folder),
                "base": member.base,
                "base_revision": member.inspection.config.base_model_revision,
                "number": member.number,
                "added": member.added.isoformat(),
                "lineage": member.record.lineage.model_dump(mode="json"),
                "tasks": list(member.inspection.tasks),
            }
            for member in matrix.members
        ],
        "adapters": [
            {
                "base": base,
                "task": task,
                "converter": cell.converter.digest,
                "latent": cell.latent.digest,
                "calibrated": cell.calibrated,
                "score": None if cell.score is None else cell.score.model_dump(mode="json"),
            }
            for (base, task), cell in cells.items()
        ],
    }


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
    core: options.Core = None,
) -> None:
    """Write a PEFT adapter for every base and every task, as OUT/BASE/TASK. No base is loaded."""
    from portal.artifacts.registry import Registry, choose_matrix, read_matrices
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
