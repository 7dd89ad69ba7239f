"""The tasks of `written-words` (prompt set of that name): six with written answers, about facts of `words`.

A fact about a country, a translation, the forms of a verb as JSON, the plurals of a list, a sentence in the
past, and a sum in digits of numbers in words.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from portal.tasks.example import Example, Written
from tools.worlds.words.facts import COUNTRIES, NUMBERS, PLURALS, TRANSLATIONS, VERBS, Row, Table

_SUBJECTS = ("The {n}", "My {n}", "That {n}", "Every {n}")
_WHO = ("child", "teacher", "farmer", "sailor", "doctor", "painter")


@dataclass(frozen=True)
class Asked:
    """What a prompt says and what is to be written, in one of several right ways."""

    prompt: str
    answers: tuple[str, ...]


Ask = Callable[[random.Random, Row, tuple[Row, ...]], Asked]
"""From a row of the table, and all rows of its split, to what is asked."""


@dataclass(frozen=True)
class WrittenTask:
    """A table and what is asked about its rows."""

    table: Table
    columns: tuple[str, ...]
    ask: Ask


def _ask_capital(_rng: random.Random, row: Row, _rows: tuple[Row, ...]) -> Asked:
    return Asked(f"Country: {row['country'][0]}\nCapital:", row["capital"])


def _ask_french(_rng: random.Random, row: Row, _rows: tuple[Row, ...]) -> Asked:
    return Asked(f"English: {row['english'][0]}\nFrench:", row["french"])


def _ask_forms(_rng: random.Random, row: Row, _rows: tuple[Row, ...]) -> Asked:
    forms = {"past": row["past"][0], "gerund": row["gerund"][0]}
    return Asked(f"Verb: {row['verb'][0]}\nJSON:", (json.dumps(forms),))


def _ask_plurals(rng: random.Random, row: Row, rows: tuple[Row, ...]) -> Asked:
    others = rng.sample([each for each in rows if each is not row], 2)
    nouns = [row, *others]
    rng.shuffle(nouns)
    singulars = ", ".join(each["singular"][0] for each in nouns)
    return Asked(f"One: {singulars}\nMany:", (", ".join(each["plural"][0] for each in nouns),))


def _ask_yesterday(rng: random.Random, row: Row, _rows: tuple[Row, ...]) -> Asked:
    who = rng.choice(_SUBJECTS).format(n=rng.choice(_WHO))
    today, yesterday = (f"{who} {row[column][0]} again." for column in ("third", "past"))
    return Asked(f"Today: {today}\nYesterday:", (yesterday,))


def _ask_sum(rng: random.Random, row: Row, rows: tuple[Row, ...]) -> Asked:
    other = rng.choice(rows)
    first, second = int(row["number"][0]), int(other["number"][0])
    steps = f"{first} + {second} = {first + second}"
    return Asked(f"Add: {row['word'][0]} and {other['word'][0]}\nSteps:", (steps,))


_TASKS: Mapping[str, WrittenTask] = {
    "write_capital": WrittenTask(COUNTRIES, ("country", "capital"), _ask_capital),
    "write_french": WrittenTask(TRANSLATIONS, ("english", "french"), _ask_french),
    "write_forms": WrittenTask(VERBS, ("verb", "past", "gerund"), _ask_forms),
    "write_plurals": WrittenTask(PLURALS, ("singular", "plural"), _ask_plurals),
    "write_yesterday": WrittenTask(VERBS, ("third", "past"), _ask_yesterday),
    "write_sum": WrittenTask(NUMBERS, ("number", "word"), _ask_sum),
}
WRITTEN_TASKS = tuple(_TASKS)


def written_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split: one per row of its table, in an order of the task's own.

    Splits are those of `words`: a subject has the same one in every task.
    """
    own, rng = _TASKS[task], random.Random(f"written-words {task} {split}")
    table = own.table
    rows = tuple(
        row
        for row in table.rows
        if table.splits[row[table.key_column][0]] == split and all(column in row for column in own.columns)
    )
    drawn = [(row, own.ask(rng, row, rows)) for row in rng.sample(rows, len(rows))]
    return [
        Example(
            task=task,
            id=f"{split}-{index:04d}",
            prompt=asked.prompt,
            choices=(f" {asked.answers[0]}",),
            gold=0,
            cluster=f"{table.name} {row[table.key_column][0]}",
            written=Written(asked.answers),
        )
        for index, (row, asked) in enumerate(drawn)
    ]
