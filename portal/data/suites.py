"""Suites by name: the embedded ones, public benchmarks, folders of prompts.

`mini`, `village` and `ledger` are the embedded worlds, the last with written answers, `words` and
`written-words` facts for pretrained bases, `portal14` the fourteen public benchmarks, `lm-eval` tasks of that
library, and a folder holds tasks of the user's own.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from portal import embedded
from portal.data.embedded import load_embedded
from portal.data.suite import Loaded, Suite, with_task_files
from portal.messages import nearest
from portal.tasks.builder import check_task_name
from portal.tasks.example import SPLITS, WITHOUT_ROWS, Example
from portal.tasks.file_task import is_task_file
from portal.tasks.lint import Lint
from portal.tasks.portal14 import BUILDERS
from portal.tasks.prompt_folder import prompt_answers, prompt_kinds, prompt_tasks, read_prompts
from portal.tasks.records import Record, folder_records, hub_records, split_files
from portal.tasks.row_source import unread_files

SUITES = (*embedded.SUITES, "portal14", "lm-eval")
NAMED_TASKS = (*embedded.SUITES, "portal14")
"""Suites whose tasks have names of their own: a task alone says which of them is meant."""
DATA_VARIABLE = "PORTAL_DATA"
"""Environment variable: the folder that `portal14` reads instead of the hub, TASK/SPLIT.parquet or .jsonl."""


class _Splits(dict[str, Sequence[Example]]):
    """Examples by split, each read when it is first asked for."""

    def __init__(self, read: Callable[[str], Sequence[Example]]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, split: str) -> Sequence[Example]:
        self[split] = self._read(split)
        return self[split]


def open_suite(
    name: str | None, tasks: Sequence[str] | None, *, data: str | None = None, holds_out: bool = True
) -> tuple[Suite, tuple[str, ...]]:
    """A suite and the chosen tasks in it; task files among `tasks` join it under their own names.

    Without a name it is the suite that `data` holds, or else the one that has the tasks, `mini` where none
    are named. Rows of task files are held out where they name none, unless `holds_out` is false. ValueError
    for an unknown suite or task.
    """
    if tasks is None:
        suite = load_suite(name or _suite_of((), data), data=data)
        return suite, suite.choose(None)
    suite = load_suite(name or _suite_of([task for task in tasks if not is_task_file(task)], data), data=data)
    suite, names = with_task_files(suite, tasks, holds_out=holds_out)
    return suite, suite.choose(names)


def open_suite_of(
    name: str | None, tasks: Sequence[str], *, data: str | None = None
) -> tuple[Suite, tuple[str, ...]]:
    """The suite of an artifact's tasks, and those of them that it has: not those of task files.

    Without a name it is the suite that `data` holds, or else the first that has one of them.
    """
    suite = load_suite(name or _suite_of(tasks, data), data=data)
    return suite, tuple(task for task in tasks if task in suite.tasks)


def known_names() -> list[str]:
    """Tasks and groups of tasks of the suites that have few enough to be named."""
    return [name for suite in NAMED_TASKS for name in names_in(suite)]


def names_in(suite: str) -> tuple[str, ...]:
    """The names of its groups and tasks, for which no rows are looked for."""
    if suite == "portal14":
        return tuple(BUILDERS)
    loaded = load_suite(suite)
    return (*loaded.groups, *loaded.tasks)


def suite_without_rows(task: str) -> Suite:
    """A suite of one task of which there is nothing but its name; ValueError for what cannot be one."""
    check_task_name(task)
    return Suite(WITHOUT_ROWS, WITHOUT_ROWS, (task,), lambda _: (dict.fromkeys(SPLITS, ()), Lint()))


def load_suite(name: str, *, data: str | None = None) -> Suite:
    """The suite `name`: one of SUITES, or a folder of `TASK/SPLIT.jsonl` or `.parquet`.

    `portal14` and `lm-eval` read the folder `data`, or the one that PORTAL_DATA names, or the hub. A row of a
    user's folder has `prompt` (text), `choices` (texts with their leading space) and `gold` (index), or
    `answer` or `answers`, and may have `id` and `cluster`. ValueError for an unknown name or a folder without
    tasks.
    """
    if name in embedded.SUITES:
        return load_embedded(name)
    if name == "lm-eval":
        from portal.tasks.lm_eval import lm_eval_answers, load_lm_eval_task, task_names

        rows = _rows_folder(data)
        place = None if rows is None else Path(rows)
        return Suite(
            name,
            name,
            task_names(),
            lambda task: load_lm_eval_task(task, place),
            names_required=True,
            answer_of=lambda task: lm_eval_answers(task, place),
        )
    if name == "portal14":
        folder = _rows_folder(data)
        licences = {task: builder.licence for task, builder in BUILDERS.items()}
        there = () if folder is None else tuple(t for t in BUILDERS if _has_rows(Path(folder) / t, t))
        return Suite(
            name,
            name,
            tuple(BUILDERS),
            lambda task: _portal14(task, folder),
            licences,
            present=there,
        )
    return _folder_suite(Path(name), name)


def _suite_of(names: Sequence[str], data: str | None) -> str:
    """Name the suite where a user does not: that in `data`, or the first that has one of the names."""
    if data is not None:
        tasks = [task for task in BUILDERS if _has_publishers_rows(Path(data) / task, task)]
        return "portal14" if tasks else data
    wanted = set(names)
    return next((suite for suite in NAMED_TASKS if wanted and wanted & {*names_in(suite)}), "mini")


def _folder_suite(folder: Path, name: str) -> Suite:
    if not folder.is_dir():
        raise ValueError(
            f"unknown suite {name!r}{nearest(name, SUITES)} (or a folder of task folders; there is none at "
            f"{folder.absolute()})"
        )
    tasks = prompt_tasks(folder)
    return Suite(
        str(folder),
        "verbatim",
        tasks,
        lambda task: (_Splits(lambda split: read_prompts(folder, task, split)), Lint()),
        kinds=prompt_kinds(folder, tasks),
        answer_of=lambda task: prompt_answers(folder, tasks, task) if task in tasks else None,
        unread=lambda task: unread_files(folder / task, SPLITS),
    )


def _portal14(task: str, folder: str | None) -> Loaded:
    builder = BUILDERS[task]

    def read(split: str) -> list[Record]:
        if folder is not None:
            return folder_records(Path(folder) / task, split)
        assert builder.hub is not None
        return hub_records(builder.hub.repo, builder.hub.config, builder.hub.revision, split)

    return builder.examples(read)


def _rows_folder(data: str | None) -> str | None:
    """The folder of rows that a suite reads instead of the hub; ValueError when it is named but not there."""
    folder = data or os.environ.get(DATA_VARIABLE)
    if folder is not None and not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder of task rows (--data or {DATA_VARIABLE})")
    return folder


def _has_rows(folder: Path, task: str) -> bool:
    return any(split_files(folder, split) for split in BUILDERS[task].splits)


def _has_publishers_rows(folder: Path, task: str) -> bool:
    """Whether the folder has the task's rows in the publisher's columns, not as finished prompts."""
    builder = BUILDERS[task]
    return any(
        "prompt" not in record
        for split in builder.splits
        if split_files(folder, split)
        for record in folder_records(folder, split)[:1]
    )
