"""What there is: `portal bases`, `portal tasks`, and the parameter counts of `portal params`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import completion
from portal.cli.completion import one_of
from portal.cli.options import (
    ADAPTER,
    DataOption,
    JsonOption,
    MaxPromptOption,
    ModulesOption,
    SuiteOption,
    TasksOption,
    check_at_least_one,
    chosen_modules,
    chosen_tasks,
)
from portal.cli.output import print_table, validated

if TYPE_CHECKING:
    from portal.data.suite import Suite

PAPER_BASES = ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "gemma-3-4b")


def params(
    base: Annotated[
        list[str] | None,
        typer.Option(
            "--base",
            metavar="BASE",
            help="Base to count for. Repeatable. Default: the paper's four.",
            autocompletion=one_of(completion.bases),
        ),
    ] = None,
    modules: ModulesOption = "q,v",
    rank: Annotated[
        int, typer.Option(rich_help_panel=ADAPTER, help="LoRA rank of the generated adapters.")
    ] = 8,
    hidden: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=ADAPTER,
            help="Width of the trunk. Default: the paper's, 512 for q,v and 1024 for more modules.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count parameters: of the shared core, and of the converter that a port refits for each base."""
    from portal.bases.base import base_sites
    from portal.bases.sites import check_rank, group_sites
    from portal.config import AdapterConfig, HypernetConfig, paper_hidden
    from portal.hypernet import converter_num_params, core_num_params

    names = chosen_modules(modules)
    adapter = validated(AdapterConfig, {"modules": names, "rank": rank, "alpha": max(1, 2 * rank)})
    hypernet = validated(HypernetConfig, {"hidden": paper_hidden(names) if hidden is None else hidden})
    counts = {}
    for name in base or PAPER_BASES:
        sites = base_sites(name)
        check_rank(sites, adapter.modules, adapter.rank)
        num_layers = 1 + max(site.layer for site in sites)
        counts[name] = converter_num_params(hypernet, group_sites(sites, adapter.modules), num_layers)
    core = core_num_params(hypernet, adapter)
    if as_json:
        typer.echo(json.dumps({"core": core, "converter": counts, "latent_per_task": hypernet.d_latent}))
        return
    typer.echo(
        f"modules {','.join(names)}, rank {rank}, trunk {hypernet.hidden}, core width {hypernet.d_core}"
    )
    typer.echo(f"core decoder (shared by all bases): {core:,}; latent per task: {hypernet.d_latent}")
    print_table(
        ["base", "converter (refit in a port)", "core / converter"],
        [[name, f"{count:,}", f"{core / count:.2f}"] for name, count in counts.items()],
    )


def bases(as_json: JsonOption = False) -> None:
    """List the bases with short names. Any other base is named by its hub id, model folder or GGUF file."""
    from portal.bases.registry import KNOWN

    if as_json:
        fields = ("location", "revision", "licence", "about")
        listed = {
            name: {field: getattr(known, field) for field in fields} | {"availability": known.availability()}
            for name, known in KNOWN.items()
        }
        typer.echo(json.dumps(listed))
        return
    print_table(
        ["base", "licence", "what", "availability"],
        [[known.name, known.licence, known.about, known.availability()] for known in KNOWN.values()],
    )


def tasks(
    suite: SuiteOption = None,
    data: DataOption = None,
    only: TasksOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="BASE", help="Also tokenise for this base: count misaligned and truncated rows."
        ),
    ] = None,
    max_prompt: MaxPromptOption = 768,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with a hash of the rows of every split.")
    ] = False,
) -> None:
    """List the tasks of a suite with their numbers of rows, and what is doubtful in them."""
    from portal.tasks.example import SPLITS

    check_at_least_one(max_prompt=max_prompt)
    opened, chosen = chosen_tasks(only, suite, data)
    if not as_json:
        _print_sources(opened, chosen)
    tokenised = {} if base is None else _tokenised(opened, chosen, base, max_prompt)
    if as_json:
        typer.echo(json.dumps(_tasks_as_json(opened, chosen, tokenised)))
        return
    headers = [
        "task",
        *SPLITS,
        "choices",
        "dropped",
        "duplicate",
        "repeated",
        "equal choices",
        "shared clusters",
    ]
    print_table(
        [*headers, *(() if base is None else ("misaligned", "truncated"))],
        [
            [
                task,
                *(str(len(opened.examples(task, split))) for split in SPLITS),
                _num_choices(opened, task),
                *map(str, opened.lint(task).counts()),
                *(str(count) for count in tokenised.get(task, {}).values()),
            ]
            for task in chosen
        ],
    )
    for task in chosen:
        for remark in opened.lint(task).remarks():
            typer.echo(f"{task}: {remark}")


def _print_sources(suite: "Suite", tasks: tuple[str, ...]) -> None:
    """Say where each task comes from: the suite, or else its file."""
    if not set(tasks) <= set(suite.paths):
        typer.echo(f"suite {suite.name}, prompt set {suite.prompt_set}")
    for task in tasks:
        if task in suite.paths:
            typer.echo(f"{task}: task file {suite.paths[task]}")


def _tasks_as_json(
    suite: "Suite", tasks: tuple[str, ...], tokenised: dict[str, dict[str, int]]
) -> dict[str, Any]:
    from portal.data.suite import split_manifest

    manifest = split_manifest(suite, tasks)
    return {
        "suite": suite.name,
        "prompt_set": suite.prompt_set,
        "files": {task: str(suite.paths[task]) for task in tasks if task in suite.paths},
        "tasks": {
            task: {split: entry["rows"] for split, entry in splits.items()}
            for task, splits in manifest.items()
        },
        "sha256": {
            task: {split: entry["sha256"] for split, entry in splits.items()}
            for task, splits in manifest.items()
        },
        "licences": {task: suite.licences.get(task) for task in tasks},
        "lint": {task: suite.lint(task).to_json() | tokenised.get(task, {}) for task in tasks},
    }


def _num_choices(suite: "Suite", task: str) -> str:
    from portal.tasks.example import SPLITS

    numbers = {len(example.choices) for split in SPLITS for example in suite.examples(task, split)}
    return f"{min(numbers)}-{max(numbers)}" if len(numbers) > 1 else str(min(numbers))


def _tokenised(
    suite: "Suite", tasks: tuple[str, ...], base: str, max_prompt: int
) -> dict[str, dict[str, int]]:
    """For each task: how many rows the base's tokenizer merges with an answer, and how many are cut."""
    from portal.bases.base import load_tokenizer
    from portal.data.token_rows import MisalignedError, encode_example
    from portal.tasks.example import SPLITS

    tokenizer = load_tokenizer(base)
    counts = {}
    for task in tasks:
        counts[task] = {"misaligned": 0, "truncated": 0}
        for split in SPLITS:
            for example in suite.examples(task, split):
                try:
                    row = encode_example(example, split, tokenizer, max_prompt=max_prompt)
                except MisalignedError:
                    counts[task]["misaligned"] += 1
                else:
                    counts[task]["truncated"] += row.truncated > 0
    return counts
