"""`Suite`: a named set of tasks, where their examples come from, and the hashes of these.

A task can also be a file of its own, beside those of any suite.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portal.answers import AnswerConfig
from portal.messages import nearest
from portal.tasks.descriptions import Descriptions
from portal.tasks.example import SPLITS, Example
from portal.tasks.example_stream import ExampleFile
from portal.tasks.file_task import FileTask, check_is_no_file, is_task_file, load_task_file
from portal.tasks.lint import Lint
from portal.tasks.portal14_sizes import SIZES, SizedRows, sized_rows

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
    _read: dict[str, Loaded] = field(default_factory=dict, repr=False, compare=False)
    _compared: set[str] = field(default_factory=set, repr=False, compare=False)
    _hashes: dict[tuple[str, str], str] = field(default_factory=dict, repr=False, compare=False)

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
        _read={},
        _compared=set(),
        _hashes={},
    )


def outline_suite(suite: Suite) -> Suite:
    """The suite with rows of known sizes in place of those of public benchmarks, for plans alone.

    ValueError for a suite whose sizes are not known.
    """
    if not set(suite.tasks) - set(suite.paths) <= SIZES.keys():
        raise ValueError(f"suite {suite.name!r}: the sizes of its tasks are not known here")

    def load(task: str) -> Loaded:
        return suite.load(task) if task in suite.paths else (sized_rows(task), Lint())

    return replace(suite, load=load, is_outline=True, _read={}, _compared=set(), _hashes={})


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
