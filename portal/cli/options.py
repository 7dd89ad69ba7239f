"""Options and arguments that several commands share, their completion in a shell, and what the values mean.

Alternatives are types, mostly those of portal.config, which loads neither torch nor Ray: help shows them, a
shell completes them, and typer refuses others.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from portal.cli.output import check_known, comma_list, warn
from portal.config import Activations as ActivationsChoice
from portal.config import DeviceChoice, PrecisionChoice
from portal.modules import ALL_MODULES, MODULES

if TYPE_CHECKING:
    from portal.data.suites import Suite

ExecutorName = Literal["auto", "train", "plain", "local"]
"""That of sweeps.launch.executors, which is not loaded for help."""
DATA, ADAPTER, TRAINING, MACHINE = "Tasks and rows", "Adapter", "Training", "Device and memory"
"""Panels of options in a command's help."""


def one_of(known: str | Sequence[str]) -> Callable[[str], list[str]]:
    """Completion of a single name of the known ones: themselves, or `module:attribute`, loaded when asked."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in _names(known) if name.startswith(incomplete)]

    return complete


def some_of(known: str | Sequence[str]) -> Callable[[str], list[str]]:
    """Completion of the last name in `a,b,c`, by known names that are not in the list yet."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{name}" for name in _names(known) if name.startswith(last) and name not in given
        ]

    return complete


def _names(known: str | Sequence[str]) -> Iterable[str]:
    if not isinstance(known, str):
        return known
    module, _, attribute = known.partition(":")
    found: Iterable[str] | Callable[[], Iterable[str]] = getattr(importlib.import_module(module), attribute)
    return found() if callable(found) else found


_DEVICES = ("cpu", "cuda")


def _known_device(name: str) -> str:
    """`name` itself; ValueError for another device than a CPU or GPU, and for one of several GPUs."""
    kind, _, index = name.partition(":")
    check_known(kind, _DEVICES, what="device")
    if index:
        raise ValueError(f"device {name!r}: it is {kind!r}; CUDA_VISIBLE_DEVICES={index} chooses the GPU")
    return kind


def base_option(help: str, *names: str) -> Any:
    """An option that names a base; by default it is called as its parameter."""
    complete = one_of("portal.bases.registry:known_bases")
    return typer.Option(*names, metavar="BASE", help=help, autocompletion=complete)


def artifact_argument(what: str) -> Any:
    """The artifact that a command takes, for that."""
    help = f"{what}: a folder, an output of train or port, or a hub id."
    return typer.Argument(metavar="ARTIFACT", help=help)


AnyArtifact = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="A folder, an output of train or port, a hub id.")
]
Base = Annotated[
    str,
    base_option(
        "Base model: a short name of `portal bases`, a hub id, a model folder or a GGUF file.", "--base"
    ),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        "--tasks",
        rich_help_panel=DATA,
        metavar="TASKS",
        help="Tasks, groups or task files (.yaml, .jsonl), comma-separated. Default: all tasks of the suite.",
        autocompletion=some_of("portal.data.suites:known_names"),
    ),
]
SuiteName = Annotated[
    str | None,
    typer.Option(
        "--suite",
        rich_help_panel=DATA,
        metavar="SUITE",
        help="Suite of tasks: mini, village, ledger, words, written-words, portal14, lm-eval or a folder. "
        "Default: the one with the tasks, or mini.",
        autocompletion=one_of("portal.data.suites:SUITES"),
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        rich_help_panel=DATA,
        metavar="DIR",
        help="Folder of TASK/SPLIT.parquet or .jsonl, with rows as published or as finished prompts.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        rich_help_panel=MACHINE,
        metavar="cpu|cuda",
        help="Device to compute on. Default: cuda where there is one.",
        parser=_known_device,
        autocompletion=one_of(_DEVICES),
    ),
]
Precision = Annotated[
    PrecisionChoice,
    typer.Option(
        "--precision",
        rich_help_panel=MACHINE,
        help="Precision of the frozen base: default (bf16 on GPU, fp32 on CPU), bf16 (also on a CPU that has "
        "it), auto (bf16 where that is faster on this CPU), 8bit or 4bit (GPU only).",
    ),
]
Activations = Annotated[
    ActivationsChoice,
    typer.Option(
        "--activations",
        rich_help_panel=MACHINE,
        help="Activation checkpointing: keep, or recompute (less memory, about 1.5 times the time per step).",
    ),
]
GpusPerWorker = Annotated[
    int,
    typer.Option(
        "--gpus-per-worker",
        rich_help_panel=MACHINE,
        metavar="N",
        min=1,
        help="Divide every base over N GPUs of one machine, for bases that do not fit one GPU.",
    ),
]
MaxPrompt = Annotated[
    int,
    typer.Option(
        "--max-prompt",
        min=1,
        rich_help_panel=DATA,
        metavar="TOKENS",
        help="Longest prompt in tokens; longer ones lose their left end.",
    ),
]
Modules = Annotated[
    str,
    typer.Option(
        "--modules",
        rich_help_panel=ADAPTER,
        metavar="MODULES",
        help="Adapted projections, comma-separated: q, k, v, o, gate, up, down; others that `portal bases` "
        "lists; or all.",
        autocompletion=some_of(("all", *MODULES)),
    ),
]
Registry = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="DIR|URL",
        help="Registry to add the artifact and its test scores to: a folder, or a URL in an object store.",
    ),
]
Core = Annotated[
    str | None,
    typer.Option(
        "--core",
        metavar="DIGEST",
        help="First digits of a core's digest, where several cores of the registry would do.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ByTask = Annotated[
    bool, typer.Option("--by-task", help="Print a line per task also where many tasks share kinds.")
]
Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Name of a shipped study, or path of a study file (YAML).",
        autocompletion=one_of("sweeps.study.catalogue:shipped_studies"),
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        help="Only the runs of this seed, and those that have none: a part of the study. Repeatable.",
    ),
]
StudyFolder = Annotated[
    str, typer.Argument(metavar="DIR", help="Output folder of a study, or its URL in an object store.")
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR|URL",
        help="Output folder, or a URL like s3://bucket/folder. Default: portal-NAME, by the study's name.",
    ),
]
Executor = Annotated[
    ExecutorName,
    typer.Option(
        "--executor",
        help="Executor of the packs. train: Ray Train worker groups. plain: Ray Tune actors, which start "
        "faster. auto: plain on CPUs, on GPUs one of the two by the predicted time. local: this process, one "
        "pack after another, without Ray.",
    ),
]
StudyDevice = Annotated[
    DeviceChoice | None,
    typer.Option(
        "--device",
        help="Kind of device for all lanes, in place of the study's own. auto: GPUs where there are any. A "
        "folder goes on with another kind than before only when it is named.",
    ),
]
Gpus = Annotated[
    int,
    typer.Option(
        "--gpus",
        min=0,
        metavar="N",
        help="Wait until the cluster has N GPUs, and train on GPUs only. On this machine alone: N must be "
        "there.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="TRACKER",
        help="Tracker that every run is logged to, epoch by epoch: tensorboard, mlflow, wandb or trackio. "
        "Runs that finished before are logged too. Repeatable.",
        autocompletion=one_of("sweeps.sinks.trackers:TRACKERS"),
    ),
]
Alerts = Annotated[
    list[str] | None,
    typer.Option(
        "--alert",
        metavar="URL|COMMAND",
        help="Where to tell that a run failed, a worker was lost or the launch has ended: "
        "a URL that gets a JSON object, or a command of the shell that gets it on stdin. Repeatable.",
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price",
        metavar="PRICE",
        help="Price of one device-hour, in any currency; adds costs to the output.",
    ),
]


def chosen_tasks(
    tasks: str | None, suite: str | None, data: str | None, *, holds_out: bool = True
) -> "tuple[Suite, tuple[str, ...]]":
    """The suite and the tasks in it that the three options name; ValueError for an unknown one.

    Rows of task files are held out where they name none, unless `holds_out` is false.
    """
    from portal.data.suites import open_suite

    names = None if tasks is None else comma_list(tasks, what="task")
    return open_suite(suite, names, data=data, holds_out=holds_out)


def artifact_tasks(
    tasks: str | None, own: Sequence[str], suite: str | None, data: str | None
) -> "tuple[Suite, tuple[str, ...]]":
    """The suite and the tasks that the options name, by default those of an artifact, `own`.

    Of these, tasks that came from task files are left out, with a warning: an artifact has no rows.
    """
    from portal.data.suites import open_suite_of

    if tasks is not None:
        return chosen_tasks(tasks, suite, data)
    opened, chosen = open_suite_of(suite, own, data=data)
    absent = [task for task in own if task not in chosen]
    if absent:
        hint = (
            f"suite {opened.name!r} has no rows of {', '.join(map(repr, absent))} (if they come from task "
            f"files, name these: --tasks {','.join(f'{task}.jsonl' for task in absent)}; if from a folder, "
            "--data)"
        )
        if not chosen:
            raise ValueError(hint)
        warn(hint)
    return opened, chosen


def chosen_kinds(
    kinds: Mapping[str, str], tasks: tuple[str, ...], *, by_task: bool
) -> dict[str, tuple[str, ...]]:
    """The tasks of every kind where they are to be summed up by it: many that share some; else nothing.

    `kinds` are by task.
    """
    from portal.results import MANY_TASKS, tasks_by_kind

    return {} if by_task or len(tasks) <= MANY_TASKS else tasks_by_kind(tasks, kinds)


def known_kinds(tasks: tuple[str, ...], suite: str | None) -> dict[str, str]:
    """Kinds of those tasks that have one, by the named suite or the first that has one of the tasks."""
    from portal.data.suites import open_suite_of

    try:
        opened, own = open_suite_of(suite, tasks)
    except ValueError:
        if suite is not None:
            raise
        return {}  # rows that PORTAL_DATA names are not there: their tasks have no kinds anyway
    return opened.kinds_of(own)


def chosen_modules(names: str) -> tuple[str, ...]:
    """The projections in `names`, or all of a Llama-like layer; ValueError for an unknown one."""
    return ALL_MODULES if names == "all" else comma_list(names, known=MODULES, what="module")


def chosen_place(
    device: str | None, precision: PrecisionChoice, gpus: int
) -> tuple[str, PrecisionChoice, int]:
    """The device, by default `cuda` where there is one, and the two others, which must be possible there."""
    from portal.bases.precision import check_precision

    where = chosen_device(device)
    if gpus > 1 and where != "cuda":
        raise ValueError(f"--gpus-per-worker {gpus} divides bases over GPUs, and this runs on {where}")
    if precision != "auto":
        check_precision(precision, where)
    return where, precision, gpus


def chosen_device(name: str | None) -> str:
    """The device of that name, by default `cuda` where there is one, else `cpu`."""
    import torch

    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise ValueError(f"device {name!r}: torch finds no GPU on this machine; leave --device out")
    return name or ("cuda" if has_gpu else "cpu")
