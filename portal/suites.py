"""A suite: where the examples of a set of tasks come from, the embedded world or a folder of files."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from portal.config import nearest
from portal.tasks.example import SPLITS, Example

SUITES = ("mini",)


@dataclass(frozen=True)
class Suite:
    """A named set of tasks with one way of rendering prompts (`prompt_set`)."""

    name: str
    prompt_set: str
    tasks: tuple[str, ...]
    load: Callable[[str, str], list[Example]]

    def examples(self, task: str, split: str) -> list[Example]:
        """All examples of `task` in `split` (train, validation or test); ValueError for an unknown task."""
        if task not in self.tasks:
            raise ValueError(f"suite {self.name!r} has no task {task!r}{nearest(task, self.tasks)}")
        return self.load(task, split)

    def choose(self, tasks: Iterable[str] | None) -> tuple[str, ...]:
        """The named tasks, or all of them; ValueError for an unknown or repeated one."""
        chosen = self.tasks if tasks is None else tuple(tasks)
        for task in chosen:
            if task not in self.tasks:
                raise ValueError(f"suite {self.name!r} has no task {task!r}{nearest(task, self.tasks)}")
        if len(set(chosen)) != len(chosen):
            raise ValueError(f"a task is named twice: {', '.join(chosen)}")
        return chosen


def load_suite(name: str) -> Suite:
    """The embedded suite `mini`, or the folder `name` of `TASK/{train,validation,test}.{jsonl,parquet}`.

    A file's rows have `prompt` (text), `choices` (texts with their leading space) and `gold` (index), and may
    have `id` and `cluster`. ValueError for an unknown name or a folder without tasks.
    """
    if name == "mini":
        from portal.mini.tasks import MINI_TASKS, mini_examples

        return Suite("mini", "mini", tuple(MINI_TASKS), mini_examples)
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(f"unknown suite {name!r}{nearest(name, SUITES)} (or a folder of task folders)")
    tasks = tuple(sorted(path.name for path in folder.iterdir() if _split_file(folder, path.name, "train")))
    if not tasks:
        raise ValueError(f"{folder}: no TASK/train.jsonl or TASK/train.parquet in this folder")
    return Suite(str(folder), "verbatim", tasks, lambda task, split: _read_split(folder, task, split))


def examples_hash(suite: Suite, tasks: Iterable[str]) -> str:
    """Hex sha256 over all examples of `tasks`, in every split: the identity of a run's data."""
    digest = hashlib.sha256()
    for task in sorted(tasks):
        for split in SPLITS:
            for example in sorted(suite.examples(task, split), key=lambda example: example.id):
                digest.update(json.dumps([split, *astuple(example)]).encode())
    return digest.hexdigest()


def _split_file(folder: Path, task: str, split: str) -> Path | None:
    candidates = (folder / task / f"{split}{suffix}" for suffix in (".parquet", ".jsonl"))
    return next((path for path in candidates if path.is_file()), None)


def _read_split(folder: Path, task: str, split: str) -> list[Example]:
    path = _split_file(folder, task, split)
    if path is None:
        raise ValueError(f"{folder / task}: no {split}.parquet or {split}.jsonl")
    examples = [_example(path, task, index, record) for index, record in enumerate(_read_records(path))]
    if not examples:
        raise ValueError(f"{path}: no rows")
    if len({example.id for example in examples}) != len(examples):
        raise ValueError(f"{path}: two rows have the same id")
    return examples


def _read_records(path: Path) -> list[dict[str, Any]]:
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path).to_pylist()
        lines = path.read_text(encoding="utf-8").split("\n")  # JSON text may hold other line separators
        return [json.loads(line) for line in lines if line.strip()]
    except (pa.ArrowInvalid, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix[1:]} ({error})") from None


def _example(path: Path, task: str, index: int, record: Any) -> Example:
    if not isinstance(record, dict):
        raise ValueError(f"{path}, row {index}: not an object with prompt, choices and gold")
    for name, kind in (("prompt", str), ("choices", list), ("gold", int)):
        if not isinstance(record.get(name), kind) or isinstance(record.get(name), bool):
            raise ValueError(
                f"{path}, row {index}: {name!r} must be a {kind.__name__}, got {record.get(name)!r}"
            )
    if not all(isinstance(choice, str) for choice in record["choices"]):
        raise ValueError(f"{path}, row {index}: every choice must be text, got {record['choices']!r}")
    name = _text_or(record.get("id"), f"{index:07d}")
    cluster = _text_or(record.get("cluster"), name)
    try:
        return Example(task, name, record["prompt"], tuple(record["choices"]), record["gold"], cluster)
    except ValueError as error:
        raise ValueError(f"{path}, row {index}: {error}") from None


def _text_or(value: Any, default: str) -> str:
    """`value` as text; `default` where a row leaves the optional column out or null."""
    return default if value is None else str(value)
