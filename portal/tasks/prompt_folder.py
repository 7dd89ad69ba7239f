"""A folder of finished prompts, `TASK/SPLIT.jsonl` or `.parquet`: their texts are used as they are.

A row has `prompt` (text), `choices` (texts with their leading space) and `gold` (index), and may have `id`
and `cluster`. A file `kinds.yaml` beside the tasks may name the kind of each, `TASK: KIND`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portal.messages import nearest
from portal.storage.strict_yaml import read_yaml
from portal.tasks.builder import check_kind_name, shuffle_choices
from portal.tasks.example import Example
from portal.tasks.example_stream import ExampleFile
from portal.tasks.records import Record, folder_records, refuse_other_formats, split_files

STREAM_BYTES = 10_000_000
"""A split whose files are larger than this is streamed."""
KINDS_FILE = "kinds.yaml"


def prompt_tasks(folder: Path) -> tuple[str, ...]:
    """The tasks in the folder; ValueError when there is none."""
    tasks = tuple(sorted(path.name for path in folder.iterdir() if split_files(path, "train")))
    if not tasks:
        for path in sorted(folder.iterdir()):
            refuse_other_formats(path, "train")
        raise ValueError(f"{folder}: no TASK/train.jsonl or TASK/train.parquet in this folder")
    return tasks


def prompt_kinds(folder: Path, tasks: Sequence[str]) -> dict[str, str]:
    """The kinds that the folder's KINDS_FILE names, by task; ValueError for an unknown task or no name."""
    path = folder / KINDS_FILE
    if not path.is_file():
        return {}
    kinds = read_yaml(path)
    for task, kind in kinds.items():
        if task not in tasks:
            raise ValueError(f"{path}: the folder has no task {task!r}{nearest(str(task), tasks)}")
        if not isinstance(kind, str):
            raise ValueError(f"{path}: {task}: a kind is a word, got {kind!r}")
        try:
            check_kind_name(kind)
        except ValueError as error:
            raise ValueError(f"{path}: {task}: {error}") from None
    return kinds


def read_prompts(folder: Path, task: str, split: str) -> Sequence[Example]:
    """Read a split, or stream it where its files are large; ValueError for a row that is no example."""
    where = folder / task
    files = split_files(where, split)
    if sum(path.stat().st_size for path in files) > STREAM_BYTES:
        return ExampleFile(files, lambda place, index, record: _example(place, task, index, record))
    records = folder_records(where, split)
    examples = [_example(f"{files[0]}, row {i}", task, i, record) for i, record in enumerate(records)]
    if len({example.id for example in examples}) != len(examples):
        raise ValueError(f"{files[0]}: two rows have the same id")
    return examples


def _example(where: str, task: str, index: int, record: Record) -> Example:
    for name, kind in (("prompt", str), ("choices", list), ("gold", int)):
        if not isinstance(record.get(name), kind) or isinstance(record.get(name), bool):
            raise ValueError(f"{where}: {name!r} must be a {kind.__name__}, got {record.get(name)!r}")
    if not all(isinstance(choice, str) for choice in record["choices"]):
        raise ValueError(f"{where}: every choice must be text, got {record['choices']!r}")
    name = _text_or(record.get("id"), f"{index:07d}")
    cluster = _text_or(record.get("cluster"), name)
    try:
        example = Example(task, name, record["prompt"], tuple(record["choices"]), record["gold"], cluster)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return shuffle_choices(example)


def _text_or(value: Any, default: str) -> str:
    """`value` as text; `default` where a row leaves the optional column out or null."""
    return default if value is None else str(value)
