"""The rows that a benchmark runs on: a seeded sample of a suite's tasks, as ours and as peers take them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from portallib.data import ChoiceDataset, ChoiceExample

from portal.bases.base import Base
from portal.data.suites import open_suite
from portal.data.token_rows import RowTable, encode_example
from portal.tasks.example import SPLITS, Example

BESIDE = Path(__file__).parents[2] / "shared" / "data"
MAX_PROMPT = 768


def real_rows() -> str | None:
    """The folder of the public tasks' rows: PORTAL_DATA, one beside the checkout, or None for the hub."""
    return os.environ.get("PORTAL_DATA") or (str(BESIDE) if BESIDE.is_dir() else None)


def draw(suite: str, rows_per_task: int, seed: int) -> list[Example]:
    """So many training examples of every task of the suite."""
    found, tasks = open_suite(suite, None, data=real_rows() if suite == "portal14" else None)
    generator = np.random.default_rng(seed)
    drawn = []
    for task in tasks:
        examples = found.examples(task, "train")
        drawn += [examples[i] for i in generator.choice(len(examples), rows_per_task, replace=False)]
    return drawn


def as_table(examples: Sequence[Example], base: Base) -> RowTable:
    """The examples as the rows of every split."""
    return RowTable(
        encode_example(example, split, base.tokenizer, max_prompt=MAX_PROMPT)
        for split in SPLITS
        for example in examples
    )


def as_dataset(examples: Sequence[Example]) -> ChoiceDataset:
    """The examples as portallib's training rows, and one of each task as its validation rows."""
    rows = [ChoiceExample(e.task, e.prompt, e.choices, e.gold) for e in examples]
    one_each = {row.task: row for row in rows}
    return ChoiceDataset(rows, list(one_each.values()))


def task_names(examples: Sequence[Example]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(example.task for example in examples))
