"""`Suite`: a named set of tasks, where their examples come from, and the hashes of these; suites by name.

`mini`, `village` and `ledger` are the embedded worlds, the last with written answers, `words` and
`written-words` facts for pretrained bases, `portal14` the fourteen public benchmarks, `lm-eval` tasks of that
library, and a folder holds tasks of the user's own. A task can also be a file of its own, beside those of any
suite.

An embedded suite lies in `portal/embedded/NAME`: `suite.yaml` names tasks, kinds, groups, and what is said
of tasks; `rows.parquet` has the rows of all tasks, those of a task and split in their order, in the columns
task, split, id, prompt, choices, gold, cluster and references (right answers; null where there are choices).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from portal import embedded
from portal.answers import AnswerConfig
from portal.embedded import FOLDER
from portal.frozen import Frozen
from portal.messages import nearest
from portal.storage.parquet import column_values, decode_table
from portal.storage.records import read_yaml
from portal.tasks.builder import check_name
from portal.tasks.example import SPLITS, WITHOUT_ROWS, Descriptions, Example, Lint, Written, describe
from portal.tasks.portal14 import BUILDERS, SIZES, SizedRows, sized_rows
from portal.tasks.prompt_folder import ExampleFile, prompt_answers, prompt_kinds, prompt_tasks, read_prompts
from portal.tasks.records import FolderRows, RowSource, folder_records, split_files, unread_files
from portal.tasks.task_file import FileTask, check_is_no_file, is_task_file, load_task_file

SUITES = (*embedded.SUITES, "portal14", "lm-eval")
NAMED_TASKS = (*embedded.SUITES, "portal14")
"""Suites whose tasks have names of their own: a task alone says which of them is meant."""
DATA_VARIABLE = "PORTAL_DATA"
"""Environment variable: the folder that `portal14` reads instead of the hub, TASK/SPLIT.parquet or .jsonl."""
Loaded = tuple[Mapping[str, Sequence[Example]], Lint]
"""A task's examples by split, and what was found wrong with its rows."""


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with one way of rendering prompts (`prompt_set`)."""

    name: str
    prompt_set: str
    tasks: tuple[str, ...]
    load: Callable[[str], Loaded]
    licences: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)  # tasks that joined from task files: their licences
    paths: dict[str, Path] = field(default_factory=dict)  # the same tasks: their files
    carved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of these, splits held out of train
    present: tuple[str, ...] = ()  # what "all" means where a folder has only some of the tasks
    names_required: bool = False  # too many tasks for "all" to mean something
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names that stand for several tasks
    kinds: Mapping[str, str] = field(default_factory=dict)  # by task: the skill that it shares with others
    descriptions: Mapping[str, Descriptions] = field(default_factory=dict)  # of the tasks that have any
    answer_of: Callable[[str], AnswerConfig | None] = lambda task: None  # how written answers are judged
    is_outline: bool = False  # whether rows have known sizes and no words, for plans alone
    unread: Callable[[str], dict[str, int]] = lambda task: {}  # rows of a task that no split reads, by place
    _read: dict[str, Loaded] = field(init=False, default_factory=dict, repr=False, compare=False)
    _compared: set[str] = field(init=False, default_factory=set, repr=False, compare=False)
    _hashes: dict[tuple[str, str], str] = field(init=False, default_factory=dict, repr=False, compare=False)

    def examples(self, task: str, split: str) -> Sequence[Example]:
        """All examples of `task` in `split` (train, validation or test); ValueError for an unknown one.

        A large split in a folder of prompts is an ExampleFile: to be read in order.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}{nearest(split, SPLITS)}")
        return self._loaded(task)[0][split]

    def lint(self, task: str) -> Lint:
        """What is wrong or doubtful in the task's rows; reads every split, once."""
        lint = self._loaded(task)[1]
        if task not in self._compared:
            lint.unread = self.unread(task)
            lint.compare({split: self.examples(task, split) for split in SPLITS})
            self._compared.add(task)
        return lint

    def choose(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        """The named tasks and those of named groups, or all; ValueError for an unknown or repeated one."""
        if tasks is None and self.names_required:
            raise ValueError(f"suite {self.name!r} has {len(self.tasks)} tasks: name those you want")
        if tasks is None:
            chosen = self.present or self.tasks
        else:
            chosen = tuple(member for name in tasks for member in self.groups.get(name, (name,)))
        for task in chosen:
            self._check(task)
        if len(set(chosen)) != len(chosen):
            twice = [task for task in chosen if chosen.count(task) > 1]
            raise ValueError(f"a task is named twice: {', '.join(twice)}")
        return chosen

    def kinds_of(self, tasks: Iterable[str]) -> dict[str, str]:
        """The kind of each of `tasks` that has one."""
        return {task: self.kinds[task] for task in tasks if task in self.kinds}

    def answers_of(self, tasks: Iterable[str]) -> dict[str, AnswerConfig]:
        """How answers are judged, of each of `tasks` whose answers are written."""
        found = {task: self.answer_of(task) for task in tasks}
        return {task: answers for task, answers in found.items() if answers is not None}

    def has_conversations(self, task: str) -> bool:
        """Whether the task's rows are turns of conversations, by its first row."""
        first = next((example for split in SPLITS for example in self.examples(task, split)), None)
        return first is not None and first.written is not None and first.written.conversation is not None

    def described(self, tasks: Sequence[str]) -> dict[str, Descriptions]:
        """What is said of each of `tasks`; ValueError for one of which nothing is said."""
        for task in tasks:
            if task not in self.descriptions:
                raise ValueError(
                    f"task {task!r} has no description: tasks of mini, village and words have them, and "
                    "those of task files with `descriptions`"
                )
        return {task: self.descriptions[task] for task in tasks}

    def _check(self, task: str) -> None:
        if task not in self.tasks:
            check_is_no_file(task)
            raise ValueError(
                f"suite {self.name!r} has no task {task!r} (if it comes from a task file, name that file: "
                f"--tasks {task}.jsonl){nearest(task, (*self.tasks, *self.groups))}"
            )

    def _loaded(self, task: str) -> Loaded:
        self._check(task)
        if task not in self._read:
            self._read[task] = self.load(task)
        return self._read[task]


def with_task_files(
    suite: Suite, tasks: Iterable[str], *, holds_out: bool = True
) -> tuple[Suite, tuple[str, ...]]:
    """The suite with the task files among `tasks`, each once, and `tasks` with the names of these files."""
    names = []
    for task in tasks:
        if is_task_file(task):
            own = load_task_file(Path(task), holds_out=holds_out)
            task = own.builder.task
            if suite.paths.get(task) != own.path:
                suite = _with_task_file(suite, own)
        names.append(task)
    return suite, tuple(names)


def _with_task_file(suite: Suite, own: FileTask) -> Suite:
    name = own.builder.task
    if name in suite.tasks:
        raise ValueError(f"suite {suite.name!r} has a task {name!r} already; name the file's otherwise")
    own_descriptions = {name: Descriptions(own.descriptions)} if own.descriptions else {}
    return replace(
        suite,
        tasks=(*suite.tasks, name),
        load=lambda task: own.load() if task == name else suite.load(task),
        unread=lambda task: own.unread() if task == name else suite.unread(task),
        licences={**suite.licences, name: own.builder.licence},
        files={**suite.files, name: own.builder.licence},
        paths={**suite.paths, name: own.path},
        carved={**suite.carved, name: own.builder.held_out},
        kinds=suite.kinds if own.kind is None else {**suite.kinds, name: own.kind},
        answer_of=lambda task: own.answers if task == name else suite.answer_of(task),
        descriptions={**suite.descriptions, **own_descriptions},
        present=(*suite.present, name) if suite.present else (),
    )


def outline_suite(suite: Suite) -> Suite:
    """The suite with rows of known sizes in place of those of public benchmarks, for plans alone.

    ValueError for a suite whose sizes are not known.
    """
    if not set(suite.tasks) - set(suite.paths) <= SIZES.keys():
        raise ValueError(f"suite {suite.name!r}: the sizes of its tasks are not known here")

    def load(task: str) -> Loaded:
        return suite.load(task) if task in suite.paths else (sized_rows(task), Lint())

    return replace(suite, load=load, is_outline=True)


def split_hash(suite: Suite, task: str, split: str) -> str:
    """Hex sha256 over all examples of a split, in the order of their ids; an ExampleFile has its own hash."""
    if (task, split) not in suite._hashes:
        suite._hashes[task, split] = _hash(suite.examples(task, split))
    return suite._hashes[task, split]


def _hash(examples: Sequence[Example]) -> str:
    if isinstance(examples, ExampleFile | SizedRows):
        return examples.sha256
    digest = hashlib.sha256()
    for example in sorted(examples, key=lambda example: example.id):
        digest.update(json.dumps(example.values).encode())
    return digest.hexdigest()


def split_manifest(suite: Suite, tasks: Iterable[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """The number of rows and their hash, per task and split."""
    return {
        task: {
            split: {"rows": len(suite.examples(task, split)), "sha256": split_hash(suite, task, split)}
            for split in SPLITS
        }
        for task in tasks
    }


def examples_hash(suite: Suite, tasks: Iterable[str]) -> str:
    """Hex sha256 over all examples of `tasks`, in every split: the identity of a run's data."""
    lines = [f"{task} {split} {split_hash(suite, task, split)}" for task in sorted(tasks) for split in SPLITS]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


Names = Annotated[tuple[str, ...], BeforeValidator(str.split)]
"""Words in one text."""


class Described(Frozen):
    """What the prompts of a kind or a task show, and what they ask for, in several wordings."""

    shown: str
    wordings: tuple[str, ...]


class SuiteFile(Frozen):
    """The content of a suite.yaml. Descriptions and answers are by kind, or by task where it has no kind."""

    tasks: Names
    kinds: dict[str, Names] = Field(default={})
    choices: dict[str, Names] = Field(default={})
    """By their form, the tasks whose choices are more than the answer `{a}`."""
    descriptions: dict[str, Described] = Field(default={})
    answers: dict[str, AnswerConfig] = Field(default={})
    groups: dict[str, Names] = Field(default={})


def load_embedded(name: str) -> Suite:
    """The suite of that name, one of `portal.embedded.SUITES`; its rows are read when they are asked for."""
    file = SuiteFile.model_validate(read_yaml(FOLDER / name / "suite.yaml"))
    kinds, forms = _by_task(file.kinds), _by_task(file.choices)
    described = {task: file.descriptions.get(kinds.get(task, task)) for task in file.tasks}
    judged = {task: file.answers.get(kinds.get(task, task)) for task in file.tasks}
    return Suite(
        name,
        name,
        file.tasks,
        lambda task: (_read_task(name, task), Lint()),
        groups=file.groups,
        kinds={task: kinds[task] for task in file.tasks if task in kinds},
        descriptions={
            task: describe(said.shown, said.wordings, forms.get(task, "{a}"))
            for task, said in described.items()
            if said is not None
        },
        answer_of=judged.get,
    )


def _by_task(groups: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {task: name for name, tasks in groups.items() for task in tasks}


@cache
def _read_task(suite: str, task: str) -> dict[str, Sequence[Example]]:
    """The task's examples by split, the same ones for every reader in a process."""
    rows = _read_rows(suite).filter(pc.field("task") == task)
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    names = ("split", "id", "prompt", "gold", "cluster", "choices", "references")
    columns = [column_values(rows[name]) for name in names]
    for split, row, prompt, gold, cluster, choices, references in zip(*columns, strict=True):
        written = Written(references) if references else None
        splits[split].append(Example(task, row, prompt, choices, gold, cluster, None, written))
    return {split: tuple(examples) for split, examples in splits.items()}


@cache
def _read_rows(suite: str) -> pa.Table:
    table = decode_table((FOLDER / suite / "rows.parquet").read_bytes())
    return table.set_column(0, "task", table["task"].dictionary_encode())  # tasks are looked for faster


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
    check_name(task, "task")
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
            name, name, tuple(BUILDERS), lambda task: _portal14(task, folder), licences, present=there
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
    source: RowSource | None = builder.hub if folder is None else FolderRows(Path(folder) / task)
    assert source is not None
    return builder.examples(source.read)


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
