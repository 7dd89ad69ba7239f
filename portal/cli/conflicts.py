"""`portal conflicts`: how far an artifact's tasks pull its core in different directions."""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, compress
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from portal.cli.artifacts import find_artifact
from portal.cli.evaluate import read_artifact, read_rows
from portal.cli.options import (
    DATA,
    DataOption,
    DeviceOption,
    JsonOption,
    MaxPromptOption,
    SuiteOption,
    TasksOption,
    check_at_least_one,
    chosen_device,
)
from portal.cli.output import print_table, warn

SHOWN = 5
"""Pairs of tasks that are named, the most opposed first."""


def conflicts(
    artifact: Annotated[
        str, typer.Argument(metavar="ARTIFACT", help="A folder, an output of train or port, a hub id.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the matrix of cosines as CSV.")
    ] = None,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    rows: Annotated[
        int, typer.Option("--rows", rich_help_panel=DATA, help="Training rows per task, at most.")
    ] = 64,
    max_prompt: MaxPromptOption = 768,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print how far tasks compete for an artifact's core: the cosines of their gradients of it.

    At 1 what helps one task helps the other, at 0 they do not touch, below 0 what helps one harms the other.
    """
    from portal.bases.base import load_base
    from portal.learners.core_cosines import core_cosines
    from portal.storage.atomic import write_bytes_atomic

    check_at_least_one(rows=rows, max_prompt=max_prompt)
    where = chosen_device(device)
    opened, examples, chosen = read_artifact(find_artifact(artifact), tasks, suite, data)
    if len(chosen) < 2:
        raise ValueError("cosines are between tasks: name at least two")
    name = opened.config.base_model_name_or_path
    encoded = read_rows(examples, chosen, "train", name, max_prompt=max_prompt, limit=rows)
    cosines = core_cosines(opened, load_base(name, device=where), encoded).tolist()
    check_gradients(chosen, cosines)
    if out is not None:
        write_bytes_atomic(out, _as_csv(chosen, cosines).encode())
    if as_json:
        numbers = [[None if math.isnan(value) else value for value in row] for row in cosines]
        typer.echo(json.dumps({"base": name, "tasks": list(chosen), "cosines": numbers}))
    else:
        print_summary(chosen, cosines, examples.kinds_of(chosen))


def check_gradients(tasks: Sequence[str], cosines: Sequence[Sequence[float]]) -> None:
    """Name the tasks whose gradient is zero; ValueError where fewer than two have another."""
    without = [task for index, task in enumerate(tasks) if math.isnan(cosines[index][index])]
    if len(tasks) - len(without) < 2:
        raise ValueError("fewer than two tasks have a gradient of the core: is the artifact untrained?")
    if without:
        warn(f"no gradient of the core: {', '.join(without)}")


def print_summary(tasks: Sequence[str], cosines: Sequence[Sequence[float]], kinds: Mapping[str, str]) -> None:
    """Means over pairs, of one kind and others where tasks have kinds, by kind, and the most opposed pairs.

    Tasks whose gradient is zero are left out.
    """
    pairs = [
        (cosines[i][j], tasks[i], tasks[j])
        for i, j in combinations(range(len(tasks)), 2)
        if not math.isnan(cosines[i][j])
    ]
    is_alike = [one in kinds and kinds[one] == kinds.get(other) for _, one, other in pairs]
    alike = list(compress(pairs, is_alike))
    others = [pair for pair, own in zip(pairs, is_alike, strict=True) if not own]
    groups = {"all pairs": pairs}
    if alike and others:
        groups |= {"pairs of one kind": alike, "other pairs": others}
    print_table(
        ("", "pairs", "mean cosine", "below 0"),
        [
            (
                label,
                str(len(own)),
                f"{sum(cosine for cosine, *_ in own) / len(own):z.3f}",
                f"{100 * sum(cosine < 0 for cosine, *_ in own) / len(own):.0f} %",
            )
            for label, own in groups.items()
        ],
    )
    if alike and others:
        _print_kinds(pairs, kinds)
    typer.echo("the most opposed:")
    for cosine, one, other in sorted(pairs)[:SHOWN]:
        typer.echo(f"  {cosine:z.3f}  {one}, {other}")


def _print_kinds(pairs: Sequence[tuple[float, str, str]], kinds: Mapping[str, str]) -> None:
    """For every kind the mean cosine of its tasks with one another, with other kinds', and the least kind."""
    cosines: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cosine, one, other in pairs:
        if one in kinds and other in kinds:
            cosines[kinds[one], kinds[other]].append(cosine)
            if kinds[one] != kinds[other]:
                cosines[kinds[other], kinds[one]].append(cosine)
    rows = []
    for kind in sorted({kind for kind, _ in cosines}):
        own = cosines.get((kind, kind))
        others = {other: values for (one, other), values in cosines.items() if one == kind != other}
        if others:
            least = min(others, key=lambda other: fmean(others[other]))
            all_others = fmean(value for values in others.values() for value in values)
            own_mean = f"{fmean(own):z.3f}" if own else "-"
            rows.append((kind, own_mean, f"{all_others:z.3f}", f"{fmean(others[least]):z.3f} ({least})"))
    if rows:
        print_table(("mean cosine of the kind", "own tasks", "other kinds", "least, with"), rows)


def _as_csv(tasks: Sequence[str], cosines: Sequence[Sequence[float]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", *tasks])
    for task, row in zip(tasks, cosines, strict=True):
        writer.writerow([task, *("" if math.isnan(value) else value for value in row)])
    return text.getvalue()
