"""A folder of finished prompts, `TASK/SPLIT.jsonl` or `.parquet`: their texts are used as they are.

A row has `prompt` (text), `choices` (texts with their leading space) and `gold` (index), and may have `id`
and `cluster`; or in place of choices and gold `answer` or `answers`, which a base writes. A file `kinds.yaml`
beside the tasks may name the kind of each, `TASK: KIND`, and `answers.yaml` how those that are written are
judged, `TASK: {metric: ...}`, with the keys of a task file.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from portal.answers import AnswerConfig
from portal.messages import nearest, validated
from portal.storage.records import read_yaml
from portal.tasks.builder import (
    COLUMNS,
    Draft,
    Dropped,
    check_name,
    draft_row,
    shuffle_choices,
    written_columns,
)
from portal.tasks.example import Example
from portal.tasks.records import Record, folder_records, refuse_other_formats, split_files, stream_records

STREAM_BYTES = 10_000_000
"""A split whose files are larger than this is streamed."""
KINDS_FILE, ANSWERS_FILE = "kinds.yaml", "answers.yaml"


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
            check_name(kind, "kind")
        except ValueError as error:
            raise ValueError(f"{path}: {task}: {error}") from None
    return kinds


def prompt_answers(folder: Path, tasks: Sequence[str], task: str) -> AnswerConfig | None:
    """How written answers to the folder's task are judged; None where it has choices.

    Its first training row tells. ValueError for a file ANSWERS_FILE that names an unknown task or setting.
    """
    first = next(stream_records(split_files(folder / task, "train")[0]), {})
    path = folder / ANSWERS_FILE
    settings = read_yaml(path) if path.is_file() else {}
    for name in settings:
        if name not in tasks:
            raise ValueError(f"{path}: the folder has no task {name!r}{nearest(str(name), tasks)}")
    if "choices" in first or written_columns(first) not in _FORMS:
        return None
    return validated(AnswerConfig, settings.get(task, {}), where=f"{path}: {task}: ")


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


_FORMS = COLUMNS[:2]
"""Columns of written answers that are texts as they are."""


def _example(where: str, task: str, index: int, record: Record) -> Example:
    columns = None if "choices" in record else written_columns(record)
    if columns is not None and columns not in _FORMS:
        raise ValueError(f"{where}: rows with {', '.join(columns)} make a task by a task file, not a folder")
    if columns in _FORMS:
        return _written_example(where, task, index, record, columns)
    for name, kind in (("prompt", str), ("choices", list), ("gold", int)):
        if not isinstance(record.get(name), kind) or isinstance(record.get(name), bool):
            raise ValueError(f"{where}: {name!r} must be a {kind.__name__}, got {record.get(name)!r}")
    if not all(isinstance(choice, str) for choice in record["choices"]):
        raise ValueError(f"{where}: every choice must be text, got {record['choices']!r}")
    name, cluster = _names(index, record)
    try:
        example = Example(task, name, record["prompt"], tuple(record["choices"]), record["gold"], cluster)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return shuffle_choices(example)


def _written_example(where: str, task: str, index: int, record: Record, columns: tuple[str, ...]) -> Example:
    name, cluster = _names(index, record)
    try:
        draft = draft_row(record, columns)
        if not isinstance(draft, Draft):
            reason = draft.reason if isinstance(draft, Dropped) else "several turns"
            raise ValueError(f"task {task!r}, example {name!r}: {reason}")
        return Example(task, name, draft.prompt, draft.choices, 0, cluster, None, draft.written)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _names(index: int, record: Record) -> tuple[str, str]:
    """Id and cluster of a row: by default its number, and itself."""
    name = _text_or(record.get("id"), f"{index:07d}")
    return name, _text_or(record.get("cluster"), name)


def _text_or(value: Any, default: str) -> str:
    """`value` as text; `default` where a row leaves the optional column out or null."""
    return default if value is None else str(value)


_DIGEST_BYTES = 16


class ExampleFile(Sequence[Example]):
    """The examples of `files`, in their order. `make(place, index, row)` makes an example of a row.

    All rows are read once at the start and checked, which gives their number and `sha256`: a hash over the
    sorted digests of the examples. ValueError for a row that is no example, and for an id that comes twice.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[str, int, Record], Example]) -> None:
        self._files, self._make = tuple(files), make
        ids, contents = bytearray(), bytearray()
        for example in self:
            ids += _digest(example.id)
            contents += _digest(json.dumps(example.values))
        self._count = len(ids) // _DIGEST_BYTES
        if len(np.unique(_as_rows(ids))) != self._count:
            raise ValueError(f"{self._files[0]}: two rows have the same id")
        self.sha256 = hashlib.sha256(np.sort(_as_rows(contents)).tobytes()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        index = 0
        for path in self._files:
            for place, record in enumerate(stream_records(path)):
                yield self._make(f"{path}, row {place}", index, record)
                index += 1

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        """Read the examples at `place`; all rows before them are read too."""
        if isinstance(place, slice):
            return list(islice(self, *place.indices(self._count)))
        if not -self._count <= place < self._count:
            raise IndexError(place)
        return next(islice(self, place % self._count, None))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


def _as_rows(digests: bytearray) -> "np.ndarray[tuple[int], np.dtype[np.void]]":
    return np.frombuffer(bytes(digests), dtype=f"V{_DIGEST_BYTES}")
