"""Texts of a study's test rows with choices, kept in its output folder for people who look at answers.

questions/<start of the data's hash>.parquet: a table of results.QUESTIONS
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from portal.data.suites import Suite
from portal.results import QUESTIONS, write_table
from portal.storage.paths import Folder
from portal.tasks.example import Example

QUESTIONS_FOLDER = "questions"
MOST_PROMPT_CHARS, MOST_CHOICE_CHARS = 600, 200
"""Characters that are kept: the last ones of a prompt, the first ones of a choice."""
_BATCH = 10_000
_HASH = re.compile(r"[0-9a-f]+")


def questions_path(out: Folder, data_hash: str) -> Folder:
    """The table of the rows with this hash (config.DataConfig); ValueError for what is no hash."""
    if not _HASH.fullmatch(data_hash):
        raise ValueError(f"{data_hash!r} is no hash of data")
    return out / QUESTIONS_FOLDER / f"{data_hash[:16]}.parquet"


def record_questions(suite: Suite, tasks: Sequence[str], out: Folder, *, data_hash: str) -> None:
    """Write the table of these tasks, whose rows have this hash, unless it is there.

    Written answers are not in it: each has its prompt beside it.
    """
    path = questions_path(out, data_hash)
    if path.is_file():
        return
    rows = (
        _question(example)
        for task in tasks
        for example in suite.examples(task, "test")
        if example.written is None
    )
    write_table(pa.concat_tables([QUESTIONS.empty_table(), *_batches(rows)]).combine_chunks(), path)


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.Table]:
    while batch := list(islice(rows, _BATCH)):
        yield pa.Table.from_pylist(batch, schema=QUESTIONS)


def _question(example: Example) -> dict[str, Any]:
    contexts = example.contexts or (example.prompt,) * len(example.choices)
    choices = [
        f"{context[len(example.prompt) :]}{choice}"
        for context, choice in zip(contexts, example.choices, strict=True)
    ]
    return {
        "task": example.task,
        "example": example.id,
        "prompt": example.prompt[-MOST_PROMPT_CHARS:],
        "choices": [choice[:MOST_CHOICE_CHARS] for choice in choices],
    }
