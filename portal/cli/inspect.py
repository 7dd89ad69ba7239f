"""`portal inspect`: what an artifact is, read from its configs alone."""

import json
from typing import TYPE_CHECKING, Any

import typer

from portal.cli import options
from portal.cli.artifacts import list_artifacts
from portal.cli.output import print_table

if TYPE_CHECKING:
    from portal.artifacts.artifact_files import Inspection


def inspect(
    artifact: options.AnyArtifact,
    suite: options.SuiteName = None,
    by_task: options.ByTask = False,
    as_json: options.Json = False,
) -> None:
    """Print what an artifact is for and where it comes from. No weights are read.

    Kinds of tasks are those of --suite, or of the first suite that has one of the tasks.
    """
    from portal.artifacts.artifact_files import inspect_artifact

    found = [inspect_artifact(folder) for folder in list_artifacts(artifact).values()]
    kinds = options.known_kinds(found[0].tasks, suite)  # the artifacts of joint training have the same tasks
    if as_json:
        typer.echo(json.dumps({"artifacts": [_as_json(each, kinds) for each in found]}, indent=2))
        return
    for each in found:
        for name, value in _facts(each):
            typer.echo(f"{name:<13} {value}")
        typer.echo("")
    _print_tasks(found, kinds, by_task=by_task)


def _facts(found: "Inspection") -> list[tuple[str, str]]:
    from portal.bases.sites import name_modules

    config, record = found.config, found.record
    of = f" @ {config.base_model_revision[:12]}" if config.base_model_revision else ""
    modules = name_modules(found.layers_by_module, config.n_layers)
    params = found.num_params
    facts = [
        ("artifact", str(found.folder)),
        ("base", f"{config.base_model_name_or_path}{of}"),
        ("made by", _made_by(found)),
        ("adapters", f"rank {config.rank}, alpha {config.alpha} on {modules}"),
        ("layers", str(config.n_layers)),
        (
            "widths",
            f"latent {config.d_z}, layer embedding {config.d_layer}, trunk {config.hidden}, "
            f"core {config.d_core}",
        ),
        ("parameters", ", ".join(f"{count:,} in the {part}" for part, count in params.items())),
    ]
    if record is not None:
        facts.append(("core", record.core_sha256[:12]))
    if found.understands_text:
        facts.append(("descriptions", "understood: `portal teach --examples 0 --describe TEXT`"))
    return facts


def _made_by(found: "Inspection") -> str:
    if found.record is None:
        return "not recorded"
    lineage = found.record.lineage
    made = f"{lineage.method}, run {lineage.run}"
    if lineage.seed is not None:
        made += f", seed {lineage.seed}"
    if lineage.source is not None:
        made += f", from an artifact of {lineage.source.base}"
        made += f" (run {lineage.source.run})" if lineage.source.run else ""
    return made


def _print_tasks(found: "list[Inspection]", kinds: dict[str, str], *, by_task: bool) -> None:
    tasks, calibrated = found[0].tasks, found[0].calibrated
    known = f", {len(calibrated)} of them calibrated" if calibrated is not None else ""
    typer.echo(f"{len(tasks)} tasks{known}")

    def count(own: tuple[str, ...]) -> list[str]:
        return [] if calibrated is None else [str(sum(task in calibrated for task in own))]

    header = [] if calibrated is None else ["calibrated"]
    if groups := options.chosen_kinds(kinds, tasks, by_task=by_task):
        rows = [[kind, str(len(own)), *count(own)] for kind, own in groups.items()]
        print_table(["kind", "tasks", *header], rows)
        return
    kind = ["kind"] if kinds else []
    own_kind = [[kinds.get(task, "")] if kinds else [] for task in tasks]
    yes = [[] if calibrated is None else ["yes" if task in calibrated else "no"] for task in tasks]
    print_table(
        ["task", *kind, *header], [[task, *a, *b] for task, a, b in zip(tasks, own_kind, yes, strict=True)]
    )


def _as_json(found: "Inspection", kinds: dict[str, str]) -> dict[str, Any]:
    config, record = found.config, found.record
    calibrated = found.calibrated
    return {
        "folder": str(found.folder),
        "format_version": config.format_version,
        "base": config.base_model_name_or_path,
        "base_revision": config.base_model_revision,
        "layers": config.n_layers,
        "layers_by_module": found.layers_by_module,
        "adapter": config.adapter.model_dump(mode="json"),
        "hypernet": config.hypernet.model_dump(mode="json", exclude={"latent_std"}),
        "understands_text": found.understands_text,
        "params": found.num_params,
        "core_sha256": None if record is None else record.core_sha256,
        "lineage": None if record is None else record.lineage.model_dump(mode="json"),
        "tasks": [
            {
                "task": task,
                "kind": kinds.get(task),
                "calibrated": None if calibrated is None else task in calibrated,
                "epoch": None if record is None else record.tasks[task].epoch,
            }
            for task in found.tasks
        ],
    }
