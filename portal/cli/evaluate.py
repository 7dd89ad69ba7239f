"""`portal eval`: scores a base on multiple-choice tasks, alone or with an adapter."""

import json
from collections.abc import Iterator, Sequence
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

_SHOWN_TASKS = 6  # more make lines too long

if TYPE_CHECKING:
    from portal.artifacts.artifact import Artifact
    from portal.bases.base import Base
    from portal.config import BaseRef
    from portal.data.token_rows import Row
    from portal.evaluate.loglikelihood import TaskMetrics
    from portal.tasks.example import Example


def evaluate(
    base: Annotated[str, typer.Option(help="Short name, folder or hub id.")],
    artifact: Annotated[str | None, typer.Option(help="Score with the adapters of this artifact.")] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(help="Score with this PEFT adapter, or each right below this folder; repeatable."),
    ] = None,
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
    workers: Annotated[
        int | None,
        typer.Option(help="Processes for several adapters; default: one a GPU, here or on the cluster."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a base on multiple-choice tasks, alone or with an adapter."""
    from portal.artifacts.artifact import load_artifact
    from portal.bases.base import base_config, load_base, load_tokenizer
    from portal.bases.files import resolve
    from portal.bases.registry import weights_note
    from portal.data.token_rows import extent_of
    from portal.evaluate.loglikelihood import score_rows, summarise
    from portal.evaluate.peft_adapter import find_adapters, score_adapter
    from portal.tasks.example import SPLITS

    if artifact is not None and adapter is not None:
        raise ValueError("--artifact and --adapter exclude each other: give one of them")
    where = chosen_device(device)
    weights = chosen_precision(precision, where)
    check_at_least_one(limit=limit, max_prompt=max_prompt, workers=workers)
    adapters = [found for folder in adapter or () for found in find_adapters(folder)]
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
    note = weights_note(base)
    if len(adapters) > 1:
        ref = resolve(base, precision=weights)
        scored = _score_all(adapters, ref, rows, where, workers)
        _show_all(base, adapters, scored, note, as_json=as_json)
        return
    loaded = load_base(base, device=where, precision=weights)
    if adapters:
        summaries = score_adapter(loaded, adapters[0], rows)
    else:
        if source is not None:
            _check_belongs(source, loaded)
        summaries = {}
        for task in chosen:
            with _injected(loaded, source, task):
                summaries[task] = summarise(score_rows(loaded, rows[task]))
    if as_json:
        typer.echo(json.dumps({"base": base, "weights": note, **_as_json(summaries)}))
        return
    _print_summaries(summaries)
    if note is not None:
        typer.echo(f"{base}: {note}")


def _score_all(
    adapters: list[Path],
    ref: "BaseRef",
    rows: "dict[str, tuple[Row, ...]]",
    device: str,
    workers: int | None,
) -> "list[dict[str, TaskMetrics]]":
    """In this process; or by Ray Data, with several workers or GPUs or on RAY_ADDRESS's cluster."""
    import os
    import tempfile

    import torch

    from portal.bases.base import load_base
    from portal.cli.studies import progress_console
    from portal.evaluate.peft_adapter import score_adapter

    console = progress_console()

    def tell(count: int) -> None:
        console.print(f"{count} of {len(adapters)} adapters scored")

    gpus = torch.cuda.device_count() if device.startswith("cuda") else 0
    if (workers or max(1, gpus)) == 1 and not os.environ.get("RAY_ADDRESS"):
        base = load_base(ref.name, device=device, revision=ref.revision, precision=ref.precision)
        scored = []
        for count, folder in enumerate(adapters, start=1):
            scored.append(score_adapter(base, folder, rows))
            tell(count)
        return scored
    from sweeps.launch.ray_scoring import score_adapters
    from sweeps.launch.ray_session import ray_session

    if Path(ref.name).is_dir():  # actors work in folders of their own
        ref = ref.model_copy(update={"name": str(Path(ref.name).resolve())})
    with tempfile.TemporaryDirectory(prefix="portal-") as scratch, ray_session(Path(scratch), console) as ray:
        count = workers or min(len(adapters), sum(ray.nodes))
        return score_adapters(adapters, ref, rows, device=ray.device, workers=count, tell=tell)


def _show_all(
    base: str,
    adapters: list[Path],
    scored: "list[dict[str, TaskMetrics]]",
    note: str | None,
    *,
    as_json: bool,
) -> None:
    """A line an adapter: acc_norm of its tasks, if they are few, and means over all."""
    values = {str(folder): _as_json(each) for folder, each in zip(adapters, scored, strict=True)}
    if as_json:
        typer.echo(json.dumps({"base": base, "weights": note, "adapters": values}))
        return
    tasks, metrics = list(scored[0]), ("acc", "acc_norm", "log_loss")
    shown = tasks if 1 < len(tasks) <= _SHOWN_TASKS else []
    lines = [
        [
            name,
            *(f"{value['tasks'][task]['acc_norm']:.4f}" for task in shown),
            *(f"{value['macro'][metric]:.4f}" for metric in metrics),
        ]
        for name, value in values.items()
    ]
    means = metrics if len(tasks) == 1 else [f"mean {metric}" for metric in metrics]
    print_table(["adapter", *shown, *means], lines)
    if shown:
        typer.echo("tasks: acc_norm")
    if note is not None:
        typer.echo(f"{base}: {note}")


def _as_json(summaries: "dict[str, TaskMetrics]") -> dict[str, Any]:
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


def _print_summaries(summaries: "dict[str, TaskMetrics]") -> None:
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
    examples: "Sequence[Example]", split: str, tokenizer: Any, max_prompt: int, limit: int | None
) -> "tuple[Row, ...]":
    from portal.data.sampling import evaluation_rows
    from portal.data.token_rows import encode_example

    rows = [encode_example(example, split, tokenizer, max_prompt=max_prompt) for example in examples]
    if not rows:
        return ()
    rows.sort(key=lambda row: row.id)
    return evaluation_rows(rows, limit or len(rows))


def _check_belongs(source: "Artifact", base: "Base") -> None:
    """ValueError unless the artifact's converter was made for a base of these widths and these weights."""
    from portal.bases.sites import group_sites

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
    from portal.forward.adapter_hooks import AdapterHooks, Segment

    if source is None:
        yield
        return
    segment = Segment(1, source.factors((task,)), source.config.adapter.scaling)
    factors = {group: (a.to(base.device), b.to(base.device)) for group, (a, b) in segment.factors.items()}
    with AdapterHooks(base.model, base.sites).active([Segment(1, factors, segment.scaling)]):
        yield
