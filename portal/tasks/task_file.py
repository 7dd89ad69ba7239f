"""Task files: a user's own task without code, as YAML over the columns of a data set or as plain JSONL rows.

task: capitals                     # default: the file's name
data: rows                         # folder of SPLIT.parquet or SPLIT.jsonl, or one file; rows of one file
                                   # that names its splits say theirs in a column `split`
hub: {repo: org/name, config: main, revision: COMMIT}       # instead of data
splits: {train: train, validation: dev, test: validation}   # the publisher's; without test or validation
                                   # a slice is carved
prompt: "Question: {question}\\nAnswer:"
choices: ["{a}", "{b}"]            # templates, or the name of a column that holds a list
keys: options.label                # optional: the column with the choices' keys
gold: answer                       # a column: an index, a key, or a choice's text
cluster: [passage]                 # optional: rows alike in these columns belong together
licence: MIT
"""

import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from portal.config import Frozen, explain
from portal.storage.strict_yaml import read_yaml
from portal.tasks.builder import Builder, Draft, Dropped, HubSource, check_task_name, clusters_by
from portal.tasks.records import Record, column_of, folder_records, hub_records, read_records

SUFFIXES = (".yaml", ".yml", ".jsonl")


class HubFile(Frozen):
    """A hub data set; without a revision its newest commit is read."""

    repo: str
    config: str | None = None
    revision: str | None = None


class SplitNames(Frozen):
    """The publisher's names of our splits."""

    train: str = "train"
    validation: str | None = None
    test: str | None = None


class TaskFile(Frozen):
    """The content of a YAML task file."""

    task: str | None = None
    data: str | None = None
    hub: HubFile | None = None
    splits: SplitNames = SplitNames()
    prompt: str
    choices: str | tuple[str, ...]
    keys: str | None = None
    gold: str
    cluster: tuple[str, ...] = Field(default=())
    licence: str = "not stated"

    @model_validator(mode="after")
    def _has_one_source(self) -> "TaskFile":
        if (self.data is None) == (self.hub is None):
            raise ValueError("give one of 'data' and 'hub'")
        if self.task is not None:
            check_task_name(self.task)
        return self


def is_task_file(name: str) -> bool:
    """Whether `name` is the path of a task file by its suffix."""
    return name.endswith(SUFFIXES)


def load_task_file(path: Path) -> tuple[Builder, Callable[[str], Sequence[Record]]]:
    """The task in the file and how the rows of a split are read; ValueError for whatever is wrong with it."""
    if not path.is_file():
        raise ValueError(f"{path}: no such task file")
    return _plain_rows(path) if path.suffix == ".jsonl" else _templates(path)


def _plain_rows(path: Path) -> tuple[Builder, Callable[[str], Sequence[Record]]]:
    """A JSONL file of prompt, choices, gold, and perhaps cluster and split."""
    records = read_records(path)
    if not records:
        raise ValueError(f"{path}: no rows")
    named = _named_splits(path, records)
    unknown = sorted(named - {"train", "validation", "test"})
    if unknown:
        raise ValueError(f"{path}: unknown split {unknown[0]!r}; known: train, validation, test")

    def read(split: str) -> list[Record]:
        return [record for record in records if record.get("split", "train") == split]

    def draft(record: Record) -> Draft | Dropped:
        prompt, choices, gold = record["prompt"], record["choices"], record["gold"]
        if not isinstance(prompt, str) or not isinstance(choices, list):
            raise ValueError("prompt must be text and choices a list of texts")
        if _is_unlabelled(gold):
            return Dropped("no label")
        return Draft(prompt, _spaced(choices), _gold_index(gold, choices, None))

    check_task_name(path.stem)

    builder = Builder(
        path.stem,
        None,
        "not stated",
        ("prompt", "choices", "gold"),
        draft,
        _clusters_of_column if any("cluster" in record for record in records) else None,
        validation="validation" if "validation" in named else None,
        test="test" if "test" in named else None,
    )
    return builder, read


def _named_splits(path: Path, records: Sequence[Record]) -> set[str]:
    """The splits that rows of one file name; empty where none does. ValueError when only some do."""
    values = [record["split"] for record in records if record.get("split") is not None]
    if values and len(values) < len(records):
        raise ValueError(f"{path}: some rows name a split and some do not")
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{path}: a split must be text, got {value!r}")
    return set(values)


def _clusters_of_column(records: Sequence[Record]) -> list[str]:
    return [str(record.get("cluster", index)) for index, record in enumerate(records)]


def _templates(path: Path) -> tuple[Builder, Callable[[str], Sequence[Record]]]:
    try:
        file = TaskFile.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, TaskFile)}") from None
    try:
        fields = _template_fields(file)
    except ValueError as error:
        raise ValueError(f"{path}: a template is malformed: {error}") from None
    named = [*fields, file.gold, *file.cluster]
    named += [file.choices] if isinstance(file.choices, str) else []
    named += [file.keys] if file.keys is not None else []
    hub = None if file.hub is None else HubSource(file.hub.repo, file.hub.config, file.hub.revision)
    builder = Builder(
        file.task or path.stem,
        hub,
        file.licence,
        tuple(sorted({name.partition(".")[0] for name in named})),
        lambda record: _draft(file, record),
        clusters_by(*file.cluster) if file.cluster else None,
        train=file.splits.train,
        validation=file.splits.validation,
        test=file.splits.test,
    )
    return builder, _reader(file, path.parent)


def _reader(file: TaskFile, folder: Path) -> Callable[[str], Sequence[Record]]:
    if file.hub is not None:
        hub = file.hub
        return lambda split: hub_records(hub.repo, hub.config, hub.revision, split)
    assert file.data is not None
    place = folder / file.data
    if place.is_file():
        return lambda split: _of_one_file(place, file.splits, split)
    return lambda split: folder_records(place, split)


def _of_one_file(path: Path, splits: SplitNames, split: str) -> list[Record]:
    """The rows of a split in one file; ValueError when splits are asked for that its rows do not name."""
    records = read_records(path)
    named = _named_splits(path, records)
    if not named and (splits.validation is not None or splits.test is not None):
        raise ValueError(
            f"{path}: 'splits' asks for several, but its rows have no column 'split'; leave 'splits' out "
            "(slices are then carved), or give a folder with a file for each"
        )
    return [record for record in records if not named or record["split"] == split]


def _draft(file: TaskFile, record: Record) -> Draft | Dropped:
    gold = column_of(record, file.gold)
    if _is_unlabelled(gold):
        return Dropped("no label")
    if any(column_of(record, field) is None for field in _template_fields(file)):
        return Dropped("a column of a template is null")
    if isinstance(file.choices, str):
        choices = _list_of(record, file.choices)
    else:
        choices = [_fill(template, record) for template in file.choices]
    keys = None if file.keys is None else _list_of(record, file.keys)
    return Draft(_fill(file.prompt, record), _spaced(choices), _gold_index(gold, choices, keys))


def _list_of(record: Record, column: str) -> list[Any]:
    value = column_of(record, column)
    if not isinstance(value, list):
        raise ValueError(f"column {column!r} must hold a list, got {value!r}")
    return value


def _is_unlabelled(gold: Any) -> bool:
    """Publishers write a missing label as null, as -1, or as an empty text."""
    return gold is None or gold == "" or (gold == -1 and not isinstance(gold, bool))


def _spaced(choices: Sequence[Any]) -> tuple[str, ...]:
    """The choices as texts that start with white space of their own or else with one space."""
    for choice in choices:
        if not isinstance(choice, str):
            raise ValueError(f"a choice must be text, got {choice!r}")
    return tuple(choice if choice[:1].isspace() else f" {choice}" for choice in choices)


def _gold_index(gold: Any, choices: Sequence[str], keys: Sequence[Any] | None) -> int:
    """The position that `gold` names: by key, by text, by truth value of two choices, or by number."""
    if keys is not None:
        if gold not in keys:
            raise ValueError(f"gold {gold!r} is none of the keys {', '.join(map(str, keys))}")
        return list(keys).index(gold)
    if gold in choices:
        return list(choices).index(gold)
    if isinstance(gold, str) and gold.lstrip("-").isdigit():
        gold = int(gold)
    if not isinstance(gold, int):
        raise ValueError(f"gold {gold!r} is neither one of the choices nor a number")
    if not 0 <= int(gold) < len(choices):
        raise ValueError(f"gold {int(gold)} is outside 0..{len(choices) - 1}")
    return int(gold)


def _template_fields(file: TaskFile) -> set[str]:
    templates = [file.prompt] if isinstance(file.choices, str) else [file.prompt, *file.choices]
    return {field for template in templates for field in _fields(template)}


def _fields(template: str) -> list[str]:
    """The columns a template names; ValueError for a conversion or a format, which would be ignored."""
    names = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if form or conversion:
            raise ValueError(f"{template!r} has a conversion or format; only {{column}} is understood")
        if name is not None:
            names.append(name)
    return names


def _fill(template: str, record: Record) -> str:
    """The template with each `{column}` or `{column.part}` replaced by the record's text."""
    parts = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(str(column_of(record, name)))
    return "".join(parts)
