"""Options and arguments that several commands share, and what the chosen values mean."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import completion
from portal.cli.completion import one_of, some_of
from portal.cli.output import check_known, comma_list, warn

if TYPE_CHECKING:
    from portal.config import Activations, DeviceChoice, PrecisionChoice
    from portal.data.suite import Suite
    from sweeps.launch.executors import ExecutorName

DATA, ADAPTER, TRAINING, MACHINE = "Tasks and rows", "Adapter", "Training", "Device and memory"
"""Panels of options in a command's help."""
BaseOption = Annotated[
    str,
    typer.Option(
        "--base",
        metavar="BASE",
        help="Base model: a short name of `portal bases`, a hub id, a model folder or a GGUF file.",
        autocompletion=one_of(completion.bases),
    ),
]
TasksOption = Annotated[
    str | None,
    typer.Option(
        "--tasks",
        rich_help_panel=DATA,
        metavar="TASKS",
        help="Tasks, groups or task files (.yaml, .jsonl), comma-separated. Default: all tasks of the suite.",
        autocompletion=some_of(completion.tasks),
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        "--suite",
        rich_help_panel=DATA,
        metavar="SUITE",
        help="Suite of tasks: mini, village, ledger, words, written-words, portal14, lm-eval or a folder. "
        "Default: the one with the tasks, or mini.",
        autocompletion=one_of(completion.suites),
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        rich_help_panel=DATA,
        metavar="DIR",
        help="Folder of TASK/SPLIT.parquet or .jsonl, with rows as published or as finished prompts.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        rich_help_panel=MACHINE,
        metavar="cpu|cuda",
        help="Device to compute on. Default: cuda where there is one.",
        autocompletion=one_of(completion.devices),
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        rich_help_panel=MACHINE,
        metavar="default|bf16|auto|8bit|4bit",
        help="Precision of the frozen base: default (bf16 on GPU, fp32 on CPU), bf16 (also on a CPU that has "
        "it), auto (bf16 where that is faster on this CPU), 8bit or 4bit (GPU only).",
        autocompletion=one_of(completion.precisions),
    ),
]
ActivationsOption = Annotated[
    str,
    typer.Option(
        "--activations",
        rich_help_panel=MACHINE,
        metavar="keep|recompute",
        help="Activation checkpointing: keep, or recompute (less memory, about 1.5 times the time per step).",
        autocompletion=one_of(completion.activations),
    ),
]
GpusPerWorkerOption = Annotated[
    int,
    typer.Option(
        "--gpus-per-worker",
        rich_help_panel=MACHINE,
        metavar="N",
        min=1,
        help="Divide every base over N GPUs of one machine, for bases that do not fit one GPU.",
    ),
]
MaxPromptOption = Annotated[
    int,
    typer.Option(
        "--max-prompt",
        rich_help_panel=DATA,
        metavar="TOKENS",
        help="Longest prompt in tokens; longer ones lose their left end.",
    ),
]
ModulesOption = Annotated[
    str,
    typer.Option(
        "--modules",
        rich_help_panel=ADAPTER,
        metavar="MODULES",
        help="Adapted projections, comma-separated: q, k, v, o, gate, up, down; others that `portal bases` "
        "lists; or all.",
        autocompletion=some_of(completion.modules),
    ),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="DIR|URL",
        help="Registry to add the artifact and its test scores to: a folder, or a URL in an object store.",
    ),
]
CoreOption = Annotated[
    str | None,
    typer.Option(
        "--core",
        metavar="DIGEST",
        help="First digits of a core's digest, where several cores of the registry would do.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ByTaskOption = Annotated[
    bool, typer.Option("--by-task", help="Print a line per task also where many tasks share kinds.")
]
StudyArgument = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="Name of a shipped study, or path of a study file (YAML).",
        autocompletion=one_of(completion.studies),
    ),
]
SeedsOption = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        help="Only the runs of this seed, and those that have none: a part of the study. Repeatable.",
    ),
]
FolderArgument = Annotated[
    str, typer.Argument(metavar="DIR", help="Output folder of a study, or its URL in an object store.")
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="DIR|URL",
        help="Output folder, or a URL like s3://bucket/folder. Default: portal-NAME, by the study's name.",
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        "--executor",
        metavar="auto|train|plain|local",
        help="Executor of the packs. train: Ray Train worker groups. plain: Ray Tune actors, which start "
        "faster. auto: plain on CPUs, on GPUs one of the two by the predicted time. local: this process, one "
        "pack after another, without Ray.",
        autocompletion=one_of(completion.executors),
    ),
]
StudyDeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda",
        help="Kind of device for all lanes, in place of the study's own. auto: GPUs where there are any. A "
        "folder goes on with another kind than before only when it is named.",
        autocompletion=one_of(completion.wanted_devices),
    ),
]
GpusOption = Annotated[
    int,
    typer.Option(
        "--gpus",
        min=0,
        metavar="N",
        help="Wait until the cluster has N GPUs, and train on GPUs only. On this machine alone: N must be "
        "there.",
    ),
]
TrackersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="TRACKER",
        help="Tracker that every run is logged to, epoch by epoch: tensorboard, mlflow, wandb or trackio. "
        "Runs that finished before are logged too. Repeatable.",
        autocompletion=one_of(completion.trackers),
    ),
]
AlertsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alert",
        metavar="URL|COMMAND",
        help="Where to tell that a run failed, a worker was lost, the budget is spent or the launch has "
        "ended: a URL that gets a JSON object, or a command of the shell that gets it on stdin. Repeatable.",
    ),
]
BudgetOption = Annotated[
    float | None,
    typer.Option(
        "--budget", metavar="AMOUNT", help="With --alert and --price: what the launch should cost at most."
    ),
]
BudgetPriceOption = Annotated[
    float | None,
    typer.Option(
        "--price", metavar="PRICE", help="With --budget: the price of one device-hour, in any currency."
    ),
]
PriceOption = Annotated[
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
    from portal.modules import ALL_MODULES, MODULES

    return ALL_MODULES if names == "all" else comma_list(names, known=MODULES, what="module")


def chosen_precision(name: str, device: str) -> "PrecisionChoice":
    """`name` checked, also against the device and what is installed."""
    from portal.bases.precision import check_precision
    from portal.config import PRECISIONS

    choice = check_known(name, PRECISIONS, what="precision")
    if choice != "auto":
        check_precision(choice, device)
    return choice


def chosen_gpus(count: int, device: str) -> int:
    """`count` checked against the device: bases are divided over GPUs only."""
    if count > 1 and not device.startswith("cuda"):
        raise ValueError(f"--gpus-per-worker {count} divides bases over GPUs, and this runs on {device}")
    return count


def chosen_activations(name: str) -> "Activations":
    """`name` checked."""
    from portal.config import ACTIVATIONS

    return check_known(name, ACTIVATIONS, what="activations")


def chosen_wanted_device(name: str | None, gpus: int) -> "DeviceChoice | None":
    """`name` checked, or what so many GPUs imply; None where neither was given."""
    from portal.config import DEVICES

    if name is not None:
        return check_known(name, DEVICES, what="device")
    return "cuda" if gpus else None


def chosen_executor(name: str) -> "ExecutorName":
    """`name` checked."""
    from sweeps.launch.executors import EXECUTORS

    return check_known(name, tuple(EXECUTORS), what="executor")


def check_at_least_one(**options: int | None) -> None:
    """ValueError, naming the option, for a value below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least 1")


def chosen_device(name: str | None) -> str:
    """`name` checked, by default `cuda` where there is one, else `cpu`.

    ValueError for an absent device, and for one of several GPUs.
    """
    import torch

    available = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if name is None:
        return available[-1]
    kind, _, index = name.partition(":")
    check_known(kind, ("cpu", "cuda"), what="device")
    if index:
        raise ValueError(f"device {name!r}: it is {kind!r}; CUDA_VISIBLE_DEVICES={index} chooses the GPU")
    if kind not in available:
        raise ValueError(f"device {name!r}: torch finds no GPU on this machine; leave --device out")
    return kind
