"""What there is: `portal bases`, `portal tasks`, and the parameter counts of `portal params`."""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import options
from portal.cli.output import print_table
from portal.messages import validated

if TYPE_CHECKING:
    from portal.data.suites import Suite
    from portal.tasks.example import Example

PAPER_BASES = ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "gemma-3-4b")


def params(
    base: Annotated[
        list[str] | None,
        options.base_option("Base to count for. Repeatable. Default: the paper's four.", "--base"),
    ] = None,
    modules: options.Modules = "q,v",
    rank: Annotated[
        int, typer.Option(rich_help_panel=options.ADAPTER, help="LoRA rank of the generated adapters.")
    ] = 8,
    hidden: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=options.ADAPTER,
            help="Width of the trunk. Default: the paper's, 512 for q,v and 1024 for more modules.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Count parameters: of the shared core, and of the converter that a port refits for each base."""
    names = options.chosen_modules(modules)
    from portal.bases.family import base_layout
    from portal.bases.sites import check_modules, check_rank, group_sites
    from portal.config import AdapterConfig, HypernetConfig, paper_hidden
    from portal.hypernet import converter_num_params, core_num_params

    adapter = validated(AdapterConfig, {"modules": names, "rank": rank, "alpha": max(1, 2 * rank)})
    hypernet = validated(HypernetConfig, {"hidden": paper_hidden(names) if hidden is None else hidden})
    counts = {}
    for name in base or PAPER_BASES:
        layout = base_layout(name)
        check_modules(layout.sites, adapter.modules)
        check_rank(layout.sites, adapter.modules, adapter.rank)
        groups = group_sites(layout.sites, adapter.modules)
        counts[name] = converter_num_params(hypernet, groups, layout.num_layers)
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


def bases(
    base: Annotated[
        str | None,
        typer.Argument(
            metavar="[BASE]",
            help="Say what of this base can be adapted.",
            autocompletion=options.one_of("portal.bases.registry:known_bases"),
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List the bases with short names, or what can be adapted in one of them.

    Any other base is named by its hub id, model folder or GGUF file.
    """
    from portal.bases.registry import known_bases, list_bases

    if base is not None:
        _print_layers(base, as_json=as_json)
        return
    if as_json:
        listed = {
            name: known.model_dump(include={"location", "revision", "licence", "about"})
            | {"availability": known.availability()}
            for name, known in known_bases().items()
        }
        typer.echo(json.dumps(listed))
        return
    print_table(
        ["base", "licence", "what", "availability"],
        [[known.name, known.licence, known.about, known.availability()] for known in list_bases()],
    )


def _print_layers(base: str, *, as_json: bool) -> None:
    """The modules of a base, how many layers have them, and what is adapted for those of Llama."""
    from portal.bases.family import base_layout, base_takes_branches
    from portal.bases.sites import count_layers, cover
    from portal.modules import ALL_MODULES

    layout, packed = base_layout(base), base_takes_branches(base)
    counts = count_layers(layout.sites)
    widths = {
        module: sorted({(site.d_in, site.d_out) for site in layout.sites if site.module == module})
        for module in counts
    }
    covered = cover(layout, ALL_MODULES)
    if as_json:
        described = {
            "layers": layout.num_layers,
            "modules": {module: {"layers": counts[module], "widths": widths[module]} for module in counts},
            "adapted": {
                each.module: dict([(each.module, each.own)] if each.own else []) | dict(each.stand_ins)
                for each in covered
            },
            "choices_share_a_row": packed,
        }
        typer.echo(json.dumps(described))
        return
    typer.echo(f"{base}: {layout.num_layers} layers")
    print_table(
        ["module", "layers", "inputs x outputs"],
        [
            [module, str(count), ", ".join(f"{d_in} x {d_out}" for d_in, d_out in widths[module])]
            for module, count in counts.items()
        ],
    )
    typer.echo("")
    print_table(
        ["asked for", "adapted as, in how many layers"],
        [[each.module, each.adapted_as() or "nothing"] for each in covered],
    )
    typer.echo("scoring: all choices of a question in one row" if packed else "scoring: one choice in a row")


def tasks(
    suite: options.SuiteName = None,
    data: options.Data = None,
    only: options.Tasks = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="BASE", help="Also tokenise for this base: count misaligned and truncated rows."
        ),
    ] = None,
    max_prompt: options.MaxPrompt = 768,
    by_task: options.ByTask = False,
    show: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Also print the first N training rows of each task; not with --json."
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with a hash of the rows of every split.")
    ] = False,
) -> None:
    """List the tasks of a suite with their numbers of rows, and what is doubtful in them.

    Many tasks that share kinds are counted by kind.
    """
    opened, chosen = options.chosen_tasks(only, suite, data)
    if not as_json:
        _print_sources(opened, chosen)
    tokenised = {} if base is None else _tokenised(opened, chosen, base, max_prompt)
    if as_json:
        typer.echo(json.dumps(_tasks_as_json(opened, chosen, tokenised)))
        return
    _print_counts(opened, chosen, options.chosen_kinds(opened.kinds, chosen, by_task=by_task), tokenised)
    for task in chosen:
        for example in opened.examples(task, "train")[:show]:
            typer.echo(_as_line(example))
    if only is None and opened.groups:
        groups = ", ".join(f"{name} ({len(members)})" for name, members in opened.groups.items())
        typer.echo(f"groups that can be named like tasks: {groups}")


def _as_line(example: "Example") -> str:
    """A row: what it asks, its right answer, and the choices; white space shows."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    right = quoted(example.choices[example.gold])
    asked = f"{example.task}: {quoted(example.prompt)} -> {right}"
    return asked if example.written else f"{asked}, of {', '.join(map(quoted, example.choices))}"


def _print_counts(
    suite: "Suite",
    tasks: tuple[str, ...],
    kinds: dict[str, tuple[str, ...]],
    tokenised: dict[str, dict[str, int]],
) -> None:
    """A line per kind, or per task where there are no kinds, and what a user should know of the rows."""
    from portal.tasks.example import SPLITS

    doubtful = ("dropped", "duplicate", "repeated", "equal choices", "shared clusters")
    headers = [*SPLITS, "choices", *doubtful, *next(iter(tokenised.values()), {})]
    groups = kinds or {task: (task,) for task in tasks}
    counts = [
        [name, *([str(len(own))] if kinds else []), *_count_rows(suite, own, tokenised)]
        for name, own in groups.items()
    ]
    print_table([*(["kind", "tasks"] if kinds else ["task"]), *headers], counts)
    for name, own in groups.items():
        remarks = {task: found for task in own if (found := suite.lint(task).remarks())}
        if kinds and remarks:
            typer.echo(f"{name}: remarks on {len(remarks)} of {len(own)} tasks, which --by-task prints")
        for remark in () if kinds else remarks.get(name, ()):
            typer.echo(f"{name}: {remark}")


def _count_rows(suite: "Suite", tasks: tuple[str, ...], tokenised: dict[str, dict[str, int]]) -> list[str]:
    """Rows of a task by split and choices of a row, as ranges over `tasks`; sums of doubtful rows.

    Where answers are written there are no choices.
    """
    from portal.tasks.example import SPLITS

    sizes = [[len(suite.examples(task, split)) for task in tasks] for split in SPLITS]
    judged = suite.answers_of(tasks)
    chosen = [task for task in tasks if task not in judged]
    choices = {
        len(example.choices) for task in chosen for split in SPLITS for example in suite.examples(task, split)
    }
    doubtful = [(*suite.lint(task).counts(), *tokenised.get(task, {}).values()) for task in tasks]
    written = "written" if len(chosen) < len(tasks) else ""
    offered = " ".join(filter(None, (_range(choices) if choices else "", written)))
    return [*map(_range, sizes), offered, *(str(sum(column)) for column in zip(*doubtful, strict=True))]


def _range(numbers: Collection[int]) -> str:
    """`448`, or `3-5` where they differ."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


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
    from portal.data.suites import split_manifest

    manifest = split_manifest(suite, tasks)
    return {
        "suite": suite.name,
        "prompt_set": suite.prompt_set,
        "files": {task: str(suite.paths[task]) for task in tasks if task in suite.paths},
        "tasks": _of_splits(manifest, "rows"),
        "sha256": _of_splits(manifest, "sha256"),
        "kinds": suite.kinds_of(tasks),
        "groups": {name: list(members) for name, members in suite.groups.items()},
        "answers": {task: each.model_dump() for task, each in suite.answers_of(tasks).items()},
        "licences": {task: suite.licences.get(task) for task in tasks},
        "lint": {task: suite.lint(task).to_json() | tokenised.get(task, {}) for task in tasks},
    }


def _of_splits(manifest: dict[str, dict[str, dict[str, Any]]], field: str) -> dict[str, dict[str, Any]]:
    return {task: {split: entry[field] for split, entry in own.items()} for task, own in manifest.items()}


def _tokenised(
    suite: "Suite", tasks: tuple[str, ...], base: str, max_prompt: int
) -> dict[str, dict[str, int]]:
    """For each task: how many rows the base's tokenizer merges with an answer, and how many are cut."""
    from portal.bases.family import load_tokenizer
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
