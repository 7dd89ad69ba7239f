"""What commands print: tables, warnings and scores; and how options give lists and configs."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from portal.messages import nearest

if TYPE_CHECKING:
    from rich.console import Console

    from portal.evaluate.loglikelihood import TaskMetrics
    from sweeps.launch.single_run import TrainingFit


Name = TypeVar("Name", bound=str)


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns: the first to the left, numbers to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    right = [
        column > 0 and all(_is_number(line[column]) for line in lines[1:]) for column in range(len(headers))
    ]
    for line in lines:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        typer.echo("  ".join(cells).rstrip())


def progress_console() -> "Console":
    """Where progress goes: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Print to stderr, in the voice of the command."""
    typer.echo(f"portal: {message}", err=True)


def comma_list(text: str, *, known: Iterable[str] | None = None, what: str) -> tuple[str, ...]:
    """The names in `a,b,c`; ValueError for an empty, repeated or (where `known` is given) unknown one."""
    names = tuple(name.strip() for name in text.split(","))
    known = None if known is None else tuple(known)
    for name in names:
        if not name:
            raise ValueError(f"an empty {what} name in {text!r}")
        if known is not None:
            check_known(name, known, what=what)
    if len(set(names)) != len(names):
        raise ValueError(f"a {what} is named twice in {text!r}")
    return names


def check_known(name: str, known: Sequence[Name], *, what: str) -> Name:
    """The one of `known` that `name` is; ValueError with the nearest of them when it is none."""
    for each in known:
        if each == name:
            return each
    raise ValueError(f"unknown {what} {name!r}{nearest(name, known)}")


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).replace("-", "", 1).isdigit()


_SHOWN_TASKS = 6  # more make lines too long
_METRICS = ("acc", "acc_norm", "score", "log_loss")


def print_tasks(
    base: str,
    summaries: "Mapping[str, TaskMetrics]",
    note: str | None,
    *,
    kinds: Mapping[str, Sequence[str]],
    as_json: bool,
) -> None:
    """Print accuracies by every unit side by side, and their means over tasks; or JSON.

    With `kinds`, the tasks of each, a line is the mean over the tasks of a kind. Tasks with written answers
    come after those with choices, in a table with their metrics.
    """
    from portal.results import ACC_NORM

    if as_json:
        typer.echo(json.dumps({"base": base, "weights": note, **_as_json(summaries)}))
        return
    written = {task: each for task, each in summaries.items() if each.metric != ACC_NORM}
    summaries = {task: each for task, each in summaries.items() if task not in written}
    if summaries:
        _print_choices(summaries, kinds)
    if written:
        lines = [
            [task, each.metric, f"{each.score:.4f}", f"{each.log_loss:.4f}", str(each.unended),
             str(each.num_examples)]
            for task, each in written.items()
        ]  # fmt: skip
        print_table(["task", "metric", "score", "log_loss", "unended", "rows"], lines)
    _print_note(base, note)


def _print_choices(summaries: "Mapping[str, TaskMetrics]", kinds: Mapping[str, Sequence[str]]) -> None:
    from portal.results import UNITS

    columns = ("acc", *(f"by {unit}" for unit in UNITS), "log_loss", "ties", "rows")
    mean = _means(summaries.values())
    own_kinds = {kind: [task for task in tasks if task in summaries] for kind, tasks in kinds.items()}
    if kinds:
        groups = {kind: [summaries[task] for task in tasks] for kind, tasks in own_kinds.items() if tasks}
        lines = [[kind, str(len(own)), *_means(own), *_sums(own)] for kind, own in groups.items()]
        lines.append(["mean over tasks", str(len(summaries)), *mean, "", ""])
        print_table(["kind", "tasks", *columns], lines)
    else:
        lines = [[task, *_means([own]), *_sums([own])] for task, own in summaries.items()]
        print_table(["task", *columns], [*lines, ["mean over tasks", *mean, "", ""]])


def _means(summaries: "Collection[TaskMetrics]") -> list[str]:
    """Accuracies by every unit and log-loss, as means over the tasks, which have choices."""
    from portal.results import UNITS

    numbers = [
        [each.acc, *(each.acc_norm[unit] for unit in UNITS), each.log_loss]
        for each in summaries
        if each.acc is not None
    ]
    return [f"{sum(column) / len(numbers):.4f}" for column in zip(*numbers, strict=True)]


def _sums(summaries: "Collection[TaskMetrics]") -> list[str]:
    """Ties and rows of the tasks together."""
    return [str(sum(each.ties for each in summaries)), str(sum(each.num_examples for each in summaries))]


def print_adapters(
    base: str, scored: "Mapping[str, Mapping[str, TaskMetrics]]", note: str | None, *, as_json: bool
) -> None:
    """Print a line per adapter: scores of its tasks, if they are few, and means over all; or JSON."""
    values = {name: _as_json(each) for name, each in scored.items()}
    if as_json:
        typer.echo(json.dumps({"base": base, "weights": note, "adapters": values}))
        return
    tasks = list(next(iter(scored.values())))
    shown = tasks if 1 < len(tasks) <= _SHOWN_TASKS else []
    known = next(iter(values.values()))["macro"]
    means = [metric for metric in _METRICS if known[metric] is not None]
    if "acc_norm" in means:
        means.remove("score")
    lines = [
        [
            name,
            *(f"{value['tasks'][task]['score']:.4f}" for task in shown),
            *(f"{value['macro'][metric]:.4f}" for metric in means),
        ]
        for name, value in values.items()
    ]
    named = means if len(tasks) == 1 else [f"mean {metric}" for metric in means]
    print_table(["adapter", *shown, *named], lines)
    if shown:
        metrics = {task: each.metric for task, each in next(iter(scored.values())).items()}
        same = len(set(metrics.values())) == 1
        typer.echo(f"tasks: {metrics[shown[0]] if same else '; '.join(f'{t} {metrics[t]}' for t in shown)}")
    _print_note(base, note)


def print_gains(frozen: Sequence[Mapping[str, Any]], adapted: Sequence[Mapping[str, Any]]) -> None:
    """Print each task's accuracy without and with its adapter, the gain with a 95 % interval, and a verdict.

    Both are result rows on test rows. The interval is Newcombe's for two proportions, which it takes for
    independent samples: too wide rather than too narrow, also where few rows are all right or all wrong.
    """
    before = {row["task"]: row for row in frozen}
    lines, unclear = [], []
    for row in adapted:
        first, second, count = before[row["task"]]["score"], row["score"], row["num_examples"]
        gain, (low, high) = second - first, difference_interval(first, second, count)
        if round(100 * low, 1) <= 0:  # as it is printed
            unclear.append(row["task"])
        numbers = [f"{row['chance']:.3f}", f"{first:.3f}", f"{second:.3f}"]
        points = f"{100 * gain:+.1f} ({100 * low:.1f} to {100 * high:.1f})"
        lines.append([row["task"], str(count), *numbers, points])
    typer.echo("")
    print_table(["task", "test rows", "chance", "frozen", "taught", "gain in points, 95 %"], lines)
    if unclear:
        typer.echo(
            f"no clear gain: {', '.join(unclear)}; more rows may help, or the task is out of the core's "
            "reach, or its words are not the base's"
        )


def difference_interval(first: float, second: float, count: int) -> tuple[float, float]:
    """The 95 % interval of the second proportion less the first, each of `count` rows.

    Method 10 of Newcombe (1998), Statistics in Medicine 17, 873-890: Wilson's limits of the two, combined.
    """
    (low_1, high_1), (low_2, high_2) = _wilson(first, count), _wilson(second, count)
    below = sqrt((second - low_2) ** 2 + (high_1 - first) ** 2)
    above = sqrt((high_2 - second) ** 2 + (first - low_1) ** 2)
    return second - first - below, second - first + above


def _wilson(share: float, count: int) -> tuple[float, float]:
    square = 1.96**2
    middle = share + square / (2 * count)
    half = 1.96 * sqrt(share * (1 - share) / count + square / (4 * count**2))
    return (middle - half) / (1 + square / count), (middle + half) / (1 + square / count)


def _as_json(summaries: "Mapping[str, TaskMetrics]") -> dict[str, Any]:
    """By task, and as means over tasks: null where a task has written answers and so no accuracy."""
    scores = {
        task: {
            "metric": summary.metric,
            "score": summary.score,
            "acc": summary.acc,
            "acc_norm": summary.acc_norm.get("chars"),
            "log_loss": summary.log_loss,
            "num_examples": summary.num_examples,
        }
        for task, summary in summaries.items()
    }
    macro: dict[str, float | None] = {}
    for metric in _METRICS:
        values = [float(value) for each in scores.values() if isinstance(value := each[metric], float)]
        macro[metric] = sum(values) / len(values) if len(values) == len(scores) else None
    by_unit = {task: summary.acc_norm for task, summary in summaries.items()}
    ties = {task: summary.ties for task, summary in summaries.items()}
    return {"tasks": scores, "macro": macro, "acc_norm_by_unit": by_unit, "ties": ties}


def _print_note(base: str, note: str | None) -> None:
    if note is not None:
        typer.echo(f"{base}: {note}")


def warn_of_reach(fits: "Iterable[TrainingFit]") -> None:
    """A warning for each task that the core seems unable to express."""
    from sweeps.launch.single_run import REACH

    for fit in fits:
        if not fit.within_reach:
            warn(
                f"{fit.task}: the core seems unable to express it: its own {fit.num_rows} training rows are "
                f"not fitted after teaching, their uncertainty is {fit.left:.2f} times that of a guess "
                f"(within reach: at most {REACH:g}; above 1 it is sure of wrong answers). It will hardly "
                "carry to other bases"
            )
