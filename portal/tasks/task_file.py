"""A user's own task without code: `TaskFile`, YAML over the columns of a data set, or plain JSONL rows.

task: capitals                     # default: the file's name
kind: geography                    # optional: the skill that it shares with other tasks
data: rows                         # folder of SPLIT.parquet or SPLIT.jsonl, or one file; rows of one file
                                   # that names its splits say theirs in a column `split`
hub: {repo: org/name, config: main, revision: COMMIT}       # instead of data
splits: {train: train, validation: dev, test: validation}   # the publisher's names; default: those of train,
                                   # validation and test that are there. A validation or test split that is
                                   # not named is carved from the training rows
prompt: "Question: {question}\\nAnswer:"
choices: ["{a}", "{b}"]            # templates, or the name of a column that holds a list
keys: options.label                # optional: the column with the choices' keys
gold: answer                       # a column: an index, a key, or a choice's text
answer: text                       # instead of choices, keys and gold: the base writes the answer
references: ["{answer}"]           # templates of right answers, or the name of a column with one or several
tests: tests                       # optional: the column with tests of programs, which then judge answers
messages: messages                 # instead of prompt and references: a column with a conversation
tools: tools                       # optional: the column with the tools that a template is given
metric: exact_match                # how written answers are judged: docs/tasks.md lists metrics
pattern: "#### (.*)"               # optional: what of an answer is judged, a regular expression
stop: ["\\n"]                      # optional: texts before which an answer ends
max_new_tokens: 64                 # most tokens of an answer
cluster: [passage]                 # optional: rows alike in these columns belong together
descriptions: [Name the capital.]  # optional: what the task is, in one or more phrasings
licence: MIT
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from portal.answers import AnswerConfig
from portal.frozen import Frozen
from portal.messages import validated
from portal.storage.records import read_yaml
from portal.tasks.builder import (
    Builder,
    Draft,
    Drafted,
    Dropped,
    check_name,
    clusters_by,
    draft_answer,
    draft_row,
    draft_turns,
    written_columns,
)
from portal.tasks.example import SPLITS, Example, Lint
from portal.tasks.records import (
    OTHER_SUFFIXES,
    ROW_SUFFIXES,
    FileRows,
    FolderRows,
    HubSource,
    Record,
    RowSource,
    column_of,
    how_to_convert,
)

_JUDGING = ("metric", "pattern", "stop", "max_new_tokens")
"""Keys of a file that are fields of its AnswerConfig."""


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
    kind: str | None = None
    data: str | None = None
    hub: HubFile | None = None
    splits: SplitNames | None = None  # None: the names are those of ours that the rows have
    answer: Literal["choice", "text"] = "choice"
    prompt: str | None = None
    choices: str | tuple[str, ...] | None = None
    keys: str | None = None
    gold: str | None = None
    references: str | tuple[str, ...] | None = None
    tests: str | None = None
    messages: str | None = None
    tools: str | None = None
    metric: str | None = None
    pattern: str | None = None
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    cluster: tuple[str, ...] = Field(default=())
    descriptions: tuple[str, ...] = Field(default=())
    licence: str = "not stated"

    @model_validator(mode="after")
    def _has_one_source(self) -> "TaskFile":
        if (self.data is None) == (self.hub is None):
            raise ValueError("give one of 'data' and 'hub'")
        if self.task is not None:
            check_name(self.task, "task")
        if self.kind is not None:
            check_name(self.kind, "kind")
        if not all(text.strip() for text in self.descriptions):
            raise ValueError("descriptions: one of them is empty")
        return self

    @model_validator(mode="after")
    def _has_the_parts_of_its_answer(self) -> "TaskFile":
        """What an answer of its kind needs is there, and nothing of the other kind."""
        of_choices, of_text = (
            ("choices", "keys", "gold"),
            ("references", "tests", "messages", "tools", *_JUDGING),
        )
        needed: tuple[str, ...]
        foreign: tuple[str, ...]
        if self.answer == "choice":
            needed, foreign = ("prompt", "choices", "gold"), of_text
        elif self.messages is not None:
            needed, foreign = ("messages",), ("prompt", "references", "tests", *of_choices)
        else:
            needed, foreign = ("prompt", "references"), ("tools", *of_choices)
        given = {name for name in (*needed, *foreign) if getattr(self, name) not in (None, ())}
        if missing := [name for name in needed if name not in given]:
            more = " (or messages)" if self.answer == "text" else " (or write answer: text)"
            raise ValueError(f"{missing[0]}: a task with answer: {self.answer} needs it{more}")
        if wrong := [name for name in foreign if name in given]:
            raise ValueError(f"{wrong[0]}: a task with answer: {self.answer} has no place for it")
        return self


SUFFIXES = (".yaml", ".yml", ".jsonl")


@dataclass(frozen=True)
class FileTask:
    """The task that a file describes."""

    path: Path
    builder: Builder
    rows: RowSource
    kind: str | None = None
    descriptions: tuple[str, ...] = ()
    answers: AnswerConfig | None = None  # None: choices

    def load(self) -> tuple[Mapping[str, Sequence[Example]], Lint]:
        """Its examples by split, and what was found wrong with the rows."""
        return self.builder.examples(self.rows.read)

    def unread(self) -> dict[str, int]:
        """How many rows of its source no split reads, by the split or file that holds them."""
        return self.rows.unread(self.builder.splits)


def is_task_file(name: str) -> bool:
    """Whether `name` is the path of a task file by its suffix."""
    return name.endswith(SUFFIXES)


def check_is_no_file(name: str) -> None:
    """ValueError, with what to do, when a task is named by a file that is not a task file."""
    path = Path(name)
    if path.suffix in (*ROW_SUFFIXES, *OTHER_SUFFIXES) or path.is_file():
        convert = "" if path.suffix in ROW_SUFFIXES else f"; {how_to_convert(path)}"
        raise ValueError(
            f"{name}: a task file ends in {', '.join(SUFFIXES)}; for the columns of other rows, write a YAML "
            f"task file whose `data` is a {' or '.join(ROW_SUFFIXES)} file{convert}"
        )


def load_task_file(path: Path, *, holds_out: bool = True) -> FileTask:
    """The task in the file; ValueError for whatever is wrong with it.

    Where the file has no validation or test rows some of the others are held out, unless `holds_out` is
    false.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such task file")
    found = _plain_rows(path) if path.suffix == ".jsonl" else _templates(path)
    return replace(found, builder=replace(found.builder, carves=holds_out))


def _plain_rows(path: Path) -> FileTask:
    """A JSONL file of prompt, choices, gold, and perhaps cluster and split; or of COLUMNS of written answers
    in place of choices and gold.
    """
    check_name(path.stem, "task")
    rows = FileRows(path)
    unknown = sorted(rows.names - set(SPLITS))
    if unknown:
        raise ValueError(f"{path}: unknown split {unknown[0]!r}; known: {', '.join(SPLITS)}")
    splits = _split_names(rows, None)

    written = None if "choices" in rows.columns else written_columns(rows.columns)

    def draft(record: Record) -> Drafted:
        if written is not None:
            return draft_row(record, written)
        prompt, choices, gold = record["prompt"], record["choices"], record["gold"]
        if not isinstance(prompt, str) or not isinstance(choices, list):
            raise ValueError("prompt must be text and choices a list of texts")
        if _is_unlabelled(gold):
            return Dropped("no label")
        return Draft(prompt, _spaced(choices), _gold_index(gold, choices, None))

    builder = Builder(
        path.stem,
        None,
        "not stated",
        written or ("prompt", "choices", "gold"),
        draft,
        _clusters_of_column if "cluster" in rows.columns else None,
        validation=splits.validation,
        test=splits.test,
    )
    answers = None if written is None else AnswerConfig()
    if written is not None and "tests" in rows.columns:
        answers = AnswerConfig(metric="pass_at_1", max_new_tokens=256)
    return FileTask(path, builder, rows, answers=answers)


def _split_names(rows: RowSource, given: SplitNames | None) -> SplitNames:
    """The publisher's names of our splits: those given, else our own names where there are rows for them.

    ValueError for rows that would be left out although nobody asked for that.
    """
    if given is not None:
        return given
    unread = rows.unread(SPLITS)
    if unread:
        raise ValueError(
            f"{next(iter(unread))}: its rows would be left out, as only train, validation and test are read "
            "(Parquet before JSONL); name the splits to read, as in `splits: {train: train, test: dev}`"
        )
    return SplitNames(
        validation="validation" if rows.has("validation") else None, test="test" if rows.has("test") else None
    )


def _clusters_of_column(records: Sequence[Record]) -> list[str | None]:
    return [str(record["cluster"]) if "cluster" in record else None for record in records]


def _templates(path: Path) -> FileTask:
    file = validated(TaskFile, read_yaml(path), where=f"{path}: ")
    try:
        fields = _template_fields(file)
    except ValueError as error:
        raise ValueError(f"{path}: a template is malformed: {error}") from None
    columns = (file.choices, file.references, file.tests, file.keys, file.gold, file.messages)
    named = [*fields, *file.cluster, *(column for column in columns if isinstance(column, str))]
    rows = _rows_of(file, path.parent)
    splits = _split_names(rows, file.splits)
    if isinstance(rows, FileRows) and not rows.names and (splits.validation or splits.test):
        raise ValueError(
            f"{rows.path}: 'splits' asks for several, but its rows have no column 'split'; leave 'splits' "
            "out (slices are then carved), or give a folder with a file for each"
        )
    builder = Builder(
        file.task or path.stem,
        rows if isinstance(rows, HubSource) else None,
        file.licence,
        tuple(sorted({name.partition(".")[0] for name in named})),
        lambda record: _draft(file, record),
        clusters_by(*file.cluster) if file.cluster else None,
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
    )
    return FileTask(path, builder, rows, file.kind, file.descriptions, _judging(file, path))


def _judging(file: TaskFile, path: Path) -> AnswerConfig | None:
    """How written answers end and are judged; None for choices."""
    if file.answer == "choice":
        return None
    given = {name: value for name in _JUDGING if (value := getattr(file, name)) is not None}
    return validated(AnswerConfig, given, where=f"{path}: ")


def _rows_of(file: TaskFile, folder: Path) -> RowSource:
    if file.hub is not None:
        return HubSource(file.hub.repo, file.hub.config, file.hub.revision)
    assert file.data is not None
    place = folder / file.data
    return FileRows(place) if place.is_file() else FolderRows(place)


def _draft(file: TaskFile, record: Record) -> Drafted:
    if file.answer == "text":
        return _draft_written(file, record)
    assert file.prompt is not None
    assert file.choices is not None
    assert file.gold is not None
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


def _draft_written(file: TaskFile, record: Record) -> Drafted:
    if file.messages is not None:
        tools = record.get(file.tools) if file.tools is not None else None
        return draft_turns(column_of(record, file.messages), tools)
    assert file.prompt is not None
    assert file.references is not None
    if any(column_of(record, field) is None for field in _template_fields(file)):
        return Dropped("a column of a template is null")
    if isinstance(file.references, str):
        value = column_of(record, file.references)
        references = value if isinstance(value, list) or value is None else [str(value)]
    else:
        references = [_fill(template, record) for template in file.references]
    tests = None
    if file.tests is not None and (tests := column_of(record, file.tests)) is None:
        return Dropped("no test, or an empty one")
    return draft_answer(_fill(file.prompt, record), references, tests)


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
    templates = [] if file.prompt is None else [file.prompt]
    for several in (file.choices, file.references):
        templates += several if isinstance(several, tuple) else []
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
