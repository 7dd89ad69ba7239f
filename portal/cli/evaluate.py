"""`portal eval`: scores a base on multiple-choice tasks, alone or with an adapter."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli.artifacts import find_artifact
from portal.cli.options import (
    DataOption,
    DeviceOption,
    MaxPromptOption,
    PrecisionOption,
    SuiteOption,
    TasksOption,
    check_at_least_one,
    chosen_device,
    chosen_precision,
    chosen_tasks,
)
from portal.cli.output import comma_list, print_table, warn

if TYPE_CHECKING:
    from portal.artifact import Artifact
    from portal.bases import Base
    from portal.rows import Row
    from portal.score import Summary


def evaluate(
    base: Annotated[str, typer.Option(help="Short name, folder or hub id.")],
    artifact: Annotated[str | None, typer.Option(help="Score with the adapters of this artifact.")] = None,
    adapter: Annotated[Path | None, typer.Option(help="Score with this PEFT adapter.")] = None,
    tasks: TasksOption = None,
    suite: SuiteOption = None,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    limit: Annotated[
        int | None, typer.Option(help="At most so many rows a task (a fixed seeded sample).")
    ] = None,
    max_prompt: MaxPromptOption = 768,
    device: DeviceOption = None,
    precision: PrecisionOption = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a base on multiple-choice tasks, alone or with an adapter."""
    from portal.artifact import load_artifact
    from portal.bases import base_config, load_base, load_tokenizer
    from portal.known_bases import weights_note
    from portal.rows import extent_of
    from portal.score import score_rows, summarise
    from portal.tasks.example import SPLITS

    if artifact is not None and adapter is not None:
        raise ValueError("--artifact and --adapter exclude each other: give one of them")
    where = chosen_device(device)
    weights = chosen_precision(precision, where)
    check_at_least_one(limit=limit, max_prompt=max_prompt)
    comma_list(split, known=SPLITS, what="split")
    source = None if artifact is None else load_artifact(find_artifact(artifact, base=base))
    wanted = ",".join(source.config.tasks) if tasks is None and source is not None else tasks
    examples, chosen = chosen_tasks(wanted, suite, data)
    if source is not None:
        for task in chosen:
            source.task_index(task)
    tokenizer = load_tokenizer(base)
    rows = {
        task: _rows(examples.examples(task, split), split, tokenizer, max_prompt, limit) for task in chosen
    }
    for task in chosen:
        if not rows[task]:
            raise ValueError(f"task {task!r} has no rows in split {split!r}")
        cut = sum(row.truncated > 0 for row in rows[task])
        if cut:
            warn(f"task {task!r}: {cut} of {len(rows[task])} prompts are cut to {max_prompt} tokens")
    every = [row for task in chosen for row in rows[task]]
    extent_of(every).check(base, base_config(base).get_text_config())
    loaded = load_base(base, device=where, precision=weights)
    if source is not None:
        _check_belongs(source, loaded)
    summaries: dict[str, Summary] = {}
    with _peft_adapter(loaded, adapter):
        for task in chosen:
            with _injected(loaded, source, task):
                summaries[task] = summarise(score_rows(loaded, rows[task]))
    note = weights_note(base)
    if as_json:
        typer.echo(json.dumps({"base": base, "weights": note, **_as_json(summaries)}))
        return
    _print_summaries(summaries)
    if note is not None:
        typer.echo(f"{base}: {note}")


def _as_json(summaries: "dict[str, Summary]") -> dict[str, Any]:
    scores = {
        task: {
            "acc": summary.acc,
            "acc_norm": summary.acc_norm["chars"],
            "log_loss": summary.log_loss,
            "num_examples": summary.num_examples,
        }
        for task, summary in summaries.items()
    }
    macro = {
        metric: sum(scores[task][metric] for task in scores) / len(scores)
        for metric in ("acc", "acc_norm", "log_loss")
    }
    by_unit = {task: summary.acc_norm for task, summary in summaries.items()}
    ties = {task: summary.ties for task, summary in summaries.items()}
    return {"tasks": scores, "macro": macro, "acc_norm_by_unit": by_unit, "ties": ties}


def _print_summaries(summaries: "dict[str, Summary]") -> None:
    """Accuracies by every unit side by side, and their means over tasks."""
    from portal.results import UNITS

    numbers = {
        task: [summary.acc, *(summary.acc_norm[unit] for unit in UNITS), summary.log_loss]
        for task, summary in summaries.items()
    }
    means = [sum(column) / len(numbers) for column in zip(*numbers.values(), strict=True)]
    lines = [
        [task, *(f"{number:.4f}" for number in numbers[task]), str(summary.ties), str(summary.num_examples)]
        for task, summary in summaries.items()
    ]
    lines.append(["mean over tasks", *(f"{mean:.4f}" for mean in means), "", ""])
    print_table(["task", "acc", *(f"by {unit}" for unit in UNITS), "log_loss", "ties", "rows"], lines)


def _rows(
    examples: list[Any], split: str, tokenizer: Any, max_prompt: int, limit: int | None
) -> "tuple[Row, ...]":
    from portal.batches import evaluation_rows
    from portal.rows import encode_example

    rows = [encode_example(example, split, tokenizer, max_prompt=max_prompt) for example in examples]
    if not rows:
        return ()
    rows.sort(key=lambda row: row.id)
    return evaluation_rows(rows, limit or len(rows))


def _check_belongs(source: "Artifact", base: "Base") -> None:
    """ValueError unless the artifact's converter was made for a base of these widths and these weights."""
    from portal.sites import group_sites

    config = source.config
    widths = [(g.module, g.d_in, g.d_out, g.layers) for g in group_sites(base.sites, config.adapter.modules)]
    same_widths = sorted(widths) == sorted((g.module, g.d_in, g.d_out, g.layers) for g in config.groups)
    other_weights = config.base_model_revision is not None and config.base_model_revision != base.revision
    if not same_widths or other_weights:
        raise ValueError(
            f"{source.folder}: belongs to base {config.base_model_name_or_path!r}, not to {base.name!r}; "
            f"`portal port {source.folder} --to {base.name} --out DIR` makes one that does"
        )


@contextmanager
def _injected(base: "Base", source: "Artifact | None", task: str) -> Iterator[None]:
    from portal.adapt import AdapterHooks, Segment

    if source is None:
        yield
        return
    segment = Segment(1, source.factors((task,)), source.config.adapter.scaling)
    factors = {group: (a.to(base.device), b.to(base.device)) for group, (a, b) in segment.factors.items()}
    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, segment.scaling)]):
        yield


@contextmanager
def _peft_adapter(base: "Base", folder: Path | None) -> Iterator[None]:
    """The PEFT adapter of `folder` active on the base; each of its tensors must belong to a linear there."""
    if folder is None:
        yield
        return
    _check_adapter(base, folder)
    from portal.peft_export import peft_adapted

    with peft_adapted(base, folder):
        yield


def _check_adapter(base: "Base", folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    from portal.peft_export import read_base_revision

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}; not a PEFT adapter (`portal export` writes one)")
    rank = _adapter_rank(folder / "adapter_config.json")
    path = folder / "adapter_model.safetensors"
    widths = {site.path: (site.d_in, site.d_out) for site in base.sites}
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged weights ({error})") from None
    made_for = read_base_revision(folder)
    if made_for is not None and made_for != base.revision:
        raise ValueError(
            f"{folder}: made for a base of revision {made_for[:12]}, {base.name!r} is {base.revision[:12]}"
        )
    if not shapes:
        raise ValueError(f"{path}: holds no tensors")
    for name, shape in shapes.items():
        target, _, factor = name.removeprefix("base_model.model.").rpartition(".lora_")
        if factor not in ("A.weight", "B.weight"):
            raise ValueError(f"{path}: {name} is no factor of a plain LoRA adapter")
        if shape[factor[0] == "B"] != rank:
            raise ValueError(f"{path}: {name} {tuple(shape)} is not of rank {rank}, which its config says")
        fits = target in widths and widths[target][factor[0] == "B"] == shape[factor[0] == "A"]
        if not fits:
            raise ValueError(
                f"{folder}: {name} {tuple(shape)} fits no projection of base {base.name!r}; another base's?"
            )


def _adapter_rank(path: Path) -> int:
    """The `r` of an adapter config; ValueError when it is not that of a LoRA adapter."""
    try:
        config = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error})") from None
    if (
        not isinstance(config, dict)
        or config.get("peft_type") != "LORA"
        or not isinstance(config.get("r"), int)
    ):
        raise ValueError(f"{path}: not the config of a LoRA adapter")
    return config["r"]
