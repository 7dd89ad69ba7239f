"""One run without a study file: `portal train` makes an artifact, `portal port` carries it to a new base."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli.artifacts import list_artifacts
from portal.cli.options import (
    ActivationsOption,
    DataOption,
    DeviceOption,
    PrecisionOption,
    SuiteOption,
    TasksOption,
    chosen_activations,
    chosen_device,
    chosen_precision,
    chosen_tasks,
)
from portal.cli.output import comma_list, print_table, validated, warn
from portal.cli.studies import progress_console

if TYPE_CHECKING:
    from portal.config import Activations, Precision, RunConfig
    from portal.data.suite import Suite

Examples = Annotated[int | None, typer.Option(help="Training rows a task, at most; else the recipe's.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the longest task; else the recipe's.")]
RecipeOption = Annotated[str, typer.Option(help="Settings not given here: paper or portallib-0.2.")]
Seed = Annotated[int, typer.Option(help="Drives initial values, subsets and order.")]
Out = Annotated[Path, typer.Option(help="Output folder; the same command continues in it.")]


def train(
    source: Annotated[str, typer.Option(help="Source bases, comma-separated.")],
    out: Out,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    recipe: RecipeOption = "paper",
    examples: Examples = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    modules: Annotated[str, typer.Option(help="Adapted projections, or 'all'.")] = "q,v",
    rank: Annotated[int, typer.Option(help="LoRA rank of the generated adapters; alpha is twice that.")] = 8,
    device: DeviceOption = None,
    precision: PrecisionOption = "default",
    activations: ActivationsOption = "keep",
) -> None:
    """Train latents, core and converters jointly on the source bases; leaves OUT/artifact/BASE for each."""
    from portal.config import MODULES, paper_hidden

    where = chosen_device(device)
    names = MODULES if modules == "all" else comma_list(modules, known=MODULES, what="module")
    sources = comma_list(source, what="base")
    request = _Request(
        sources, tasks, suite, data, recipe, examples, epochs, seed, chosen_precision(precision, where)
    )
    parts = {
        "method": "source",
        "adapter": {"modules": names, "rank": rank, "alpha": max(1, 2 * rank)},
        "hypernet": {"hidden": paper_hidden(names)},
    }
    run, chosen = _run_config(request, parts)
    _execute(run, chosen, out, where, chosen_activations(activations), sources={})


def port(
    artifact: Annotated[str, typer.Argument(help="Folder or hub id of an artifact.")],
    to: Annotated[str, typer.Option(help="The new base.")],
    out: Out,
    recipe: RecipeOption = "paper",
    examples: Examples = None,
    seed: Seed = 0,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    epochs: Epochs = None,
    device: DeviceOption = None,
    precision: PrecisionOption = "default",
    activations: ActivationsOption = "keep",
) -> None:
    """Refit a fresh converter on another base, core and latents frozen; leaves OUT/artifact."""
    from portal.artifacts.artifact import WEIGHTS, load_artifact
    from portal.storage.paths import file_sha256

    where = chosen_device(device)
    source = load_artifact(next(iter(list_artifacts(artifact).values())))
    wanted = tasks or ",".join(source.config.tasks)
    request = _Request(
        (to,), wanted, suite, data, recipe, examples, epochs, seed, chosen_precision(precision, where)
    )
    digest = file_sha256(source.folder / WEIGHTS)[:16]  # as long as a run's key
    parts = {
        "method": "portal",
        "adapter": source.config.adapter.model_dump(),
        "hypernet": source.config.hypernet.model_dump(),
        "source": digest,
        "source_bases": (source.config.base_model_name_or_path,),
    }
    run, chosen = _run_config(request, parts)
    for task in run.data.tasks:
        source.task_index(task)
    _execute(run, chosen, out, where, chosen_activations(activations), sources={digest: source.folder})


@dataclass(frozen=True)
class _Request:
    """What both commands ask for."""

    bases: tuple[str, ...]
    tasks: str | None
    suite: str | None
    data: str | None
    recipe: str
    examples: int | None
    epochs: int | None
    seed: int
    precision: "Precision"


def _run_config(request: _Request, parts: dict[str, Any]) -> "tuple[RunConfig, Suite]":
    """A run's whole, checked config (bases pinned, data hashed, rank inside every width) and its suite."""
    from portal.bases.base import base_sites
    from portal.bases.files import resolve
    from portal.bases.sites import check_rank
    from portal.config import RunConfig
    from portal.data.suite import examples_hash
    from portal.recipes import find_recipe
    from sweeps.planning.study_rows import count_rows

    recipe, method = find_recipe(request.recipe), parts["method"]
    given = {} if request.epochs is None else {"epochs": request.epochs}
    suite, tasks = chosen_tasks(request.tasks, request.suite, request.data)
    count_rows(suite, tasks)
    references = [resolve(base, precision=request.precision) for base in request.bases]
    run = validated(
        RunConfig,
        {
            **parts,
            "bases": [reference.model_dump() for reference in references],
            "seed": request.seed,
            "train": recipe.train(method) | given | {"evaluate": "last_epoch"},
            "data": {
                "suite": suite.name,
                "tasks": tasks,
                "prompt_set": suite.prompt_set,
                "files": {task: suite.files[task] for task in tasks if task in suite.files},
                "size": recipe.size(method) if request.examples is None else request.examples,
                "data_hash": examples_hash(suite, tasks),
            },
        },
    )
    assert run.adapter is not None
    for base in request.bases:
        check_rank(base_sites(base), run.adapter.modules, run.adapter.rank)
    return run, suite


def _execute(
    run: "RunConfig",
    suite: "Suite",
    out: Path,
    device: str,
    activations: "Activations",
    *,
    sources: dict[str, Path],
) -> None:
    """Finish the run in `out`, print its scores, leave its artifact as `out/artifact`; exit 3 if it fails."""
    from portal.results import RESULTS, RESULTS_FILE, read_table
    from sweeps.launch.local_run import run_local
    from sweeps.store.run_store import Store

    place = out / "artifact"
    if place.exists() and not place.is_symlink():
        raise ValueError(f"{place}: not a link of an earlier run; choose another --out")
    threads = len(os.sched_getaffinity(0))
    store = Store(out)
    try:
        run_local(
            [run],
            suite,
            out,
            progress_console(),
            sources=sources,
            device=device,
            threads=threads,
            activations=activations,
        )
    except ValueError:
        failure = store.failure(run.key)
        if failure is None:
            raise
        warn(f"{run.describe()} ({run.key}) failed: {failure['cause']}; log: {failure['log']}")
        raise typer.Exit(3) from None
    _publish(out / "runs" / run.key / "artifact", place)
    _print_scores(read_table(store.run_folder(run.key) / RESULTS_FILE, RESULTS).to_pylist())
    typer.echo(f"artifact: {place}")


def _publish(artifact: Path, place: Path) -> None:
    """`place` names the finished run's artifact: a relative link, replaced whole."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(artifact.relative_to(place.parent))
    temporary.replace(place)


def _print_scores(rows: list[dict[str, Any]]) -> None:
    """Test accuracy of the last epoch, the mean over tasks, for each base, and what its weights are."""
    from portal.bases.registry import weights_note

    last = max(row["epoch"] for row in rows)
    table = []
    for base in dict.fromkeys(row["base"] for row in rows):
        scored = [row for row in rows if (row["base"], row["epoch"], row["split"]) == (base, last, "test")]
        means = [
            sum(row[metric] for row in scored) / len(scored)
            for metric in ("chance", "acc", "acc_norm", "log_loss")
        ]
        table.append([base, str(len(scored)), *(f"{mean:.4f}" for mean in means)])
    print_table(["base", "tasks", "chance", "acc", "acc_norm", "log_loss"], table)
    for base in dict.fromkeys(row["base"] for row in rows):
        note = weights_note(base)
        if note is not None:
            typer.echo(f"{base}: {note}")
