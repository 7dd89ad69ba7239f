"""Options that several commands share, and what the chosen ones mean."""

from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.output import comma_list

if TYPE_CHECKING:
    from portal.config import Activations, Precision
    from portal.data.suite import Suite

TasksOption = Annotated[
    str | None,
    typer.Option("--tasks", help="Comma-separated names or task files (.yaml, .jsonl); default: all."),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        "--suite", help="mini, portal14, lm-eval or a folder; default: the one that has the tasks, or mini."
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", help="Folder of TASK/SPLIT.parquet or .jsonl: rows as published, or finished prompts."
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu or cuda; default: cuda where there is one.")
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="Of the frozen base: default, or on a GPU 8bit or 4bit.")
]
ActivationsOption = Annotated[
    str,
    typer.Option("--activations", help="Of the base in training: keep, or recompute for less memory."),
]
MaxPromptOption = Annotated[
    int,
    typer.Option("--max-prompt", help="Longest prompt in tokens; longer ones lose their left end."),
]


def chosen_tasks(tasks: str | None, suite: str | None, data: str | None) -> "tuple[Suite, tuple[str, ...]]":
    """The suite and the tasks in it that the three options name; ValueError for an unknown one."""
    from portal.data.suite import open_suite

    names = None if tasks is None else comma_list(tasks, what="task")
    return open_suite(suite, names, data=data)


def chosen_precision(name: str, device: str) -> "Precision":
    """`name` checked, also against the device and what is installed."""
    from portal.bases.base import check_precision
    from portal.config import PRECISIONS, nearest

    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}{nearest(name, PRECISIONS)}")
    check_precision(name, device)
    return name


def chosen_activations(name: str) -> "Activations":
    """`name` checked."""
    from portal.config import ACTIVATIONS, nearest

    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activations {name!r}{nearest(name, ACTIVATIONS)}")
    return name


def check_at_least_one(**options: int | None) -> None:
    """ValueError, naming the option, for a value below 1."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: at least 1")


def chosen_device(name: str | None) -> str:
    """`name` checked, by default `cuda` where there is one, else `cpu`; ValueError for an absent device."""
    import torch

    available = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    if name is not None and name.split(":")[0] not in available:
        raise ValueError(f"device {name!r} is not available here; available: {', '.join(available)}")
    return name or available[-1]
