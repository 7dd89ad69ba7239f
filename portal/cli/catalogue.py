"""What there is: `portal bases`, `portal tasks`, and the parameter counts of `portal params`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.output import comma_list, print_table, validated

if TYPE_CHECKING:
    from portal.sites import Site

_GEOMETRY = {
    # hidden, layers, q width, k and v width, feed-forward width
    "qwen3-1.7b": (2048, 28, 2048, 1024, 6144),
    "qwen3-4b": (2560, 36, 4096, 1024, 9728),
    "qwen3-8b": (4096, 36, 4096, 1024, 12288),
    "gemma-3-4b": (2560, 34, 2048, 1024, 10240),
}


def params(
    base: Annotated[list[str] | None, typer.Option("--base", help="Only this base; may be repeated.")] = None,
    modules: Annotated[str, typer.Option(help="Adapted projections, or 'all'.")] = "q,v",
    rank: Annotated[int, typer.Option(help="LoRA rank of the generated adapters.")] = 8,
    hidden: Annotated[
        int | None, typer.Option(help="Trunk width; default: the paper's, 512 for q,v and 1024 for more.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count parameters: the shared core, and the converter that a port refits, for each base."""
    from portal.config import MODULES, AdapterConfig, HypernetConfig, paper_hidden
    from portal.hypernet import converter_num_params, core_num_params
    from portal.sites import check_rank, group_sites

    names = MODULES if modules == "all" else comma_list(modules, known=MODULES, what="module")
    adapter = validated(AdapterConfig, {"modules": names, "rank": rank, "alpha": max(1, 2 * rank)})
    hypernet = validated(HypernetConfig, {"hidden": paper_hidden(names) if hidden is None else hidden})
    counts = {}
    for name in base or _GEOMETRY:
        sites = known_sites(name)
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
    typer.echo(f"core decoder (shared by all bases): {core:,}; task latent: {hypernet.d_latent} a task")
    print_table(
        ["base", "converter (refit in a port)", "core / converter"],
        [[name, f"{count:,}", f"{core / count:.2f}"] for name, count in counts.items()],
    )


def bases(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bases with short names; any other is named by its hub id or its folder."""
    from portal.bases import KNOWN

    if as_json:
        fields = ("location", "revision", "licence", "about")
        typer.echo(
            json.dumps(
                {name: {field: getattr(known, field) for field in fields} for name, known in KNOWN.items()}
            )
        )
        return
    rows = [
        [
            known.name,
            "embedded" if known.revision is None else f"{known.location} @ {known.revision[:7]}",
            known.licence,
        ]
        for known in KNOWN.values()
    ]
    print_table(["base", "from", "licence"], rows)


def tasks(
    data: Annotated[
        str, typer.Option(help="'mini', or a folder of TASK/{train,validation,test}.{jsonl,parquet}.")
    ] = "mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the tasks of a suite with their numbers of rows; reading them checks every row."""
    from portal.suites import load_suite
    from portal.tasks.example import SPLITS

    suite = load_suite(data)
    counts = {}
    choices = {}
    for task in suite.tasks:
        by_split = {split: suite.examples(task, split) for split in SPLITS}
        counts[task] = {split: len(examples) for split, examples in by_split.items()}
        numbers = sorted({len(example.choices) for examples in by_split.values() for example in examples})
        choices[task] = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    if as_json:
        typer.echo(json.dumps({"suite": suite.name, "prompt_set": suite.prompt_set, "tasks": counts}))
        return
    rows = [[task, *(str(counts[task][split]) for split in SPLITS), choices[task]] for task in suite.tasks]
    print_table(["task", *SPLITS, "choices"], rows)


def known_sites(name: str) -> "tuple[Site, ...]":
    """The adaptable sites of a base: from the published geometry where known, else from the base's config."""
    from portal.bases import base_sites
    from portal.sites import Site

    if name not in _GEOMETRY:
        return base_sites(name)
    width, layers, q, kv, feed = _GEOMETRY[name]
    shapes = {
        "q": (width, q),
        "k": (width, kv),
        "v": (width, kv),
        "o": (q, width),
        "gate": (width, feed),
        "up": (width, feed),
        "down": (feed, width),
    }
    return tuple(
        Site(layer, module, f"{layer}.{module}", d_in, d_out)
        for layer in range(layers)
        for module, (d_in, d_out) in shapes.items()
    )
