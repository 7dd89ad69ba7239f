"""The tasks of `written-words` (prompt set of that name): six with written answers, about facts of `words`.

A fact about a country, a translation, the forms of a verb as JSON, the plurals of a list, a sentence in the
past, and a sum in digits of numbers in words.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from portal.answers import AnswerConfig
from portal.tasks.example import Example, Written, check_drawn
from portal.words.countries import COUNTRIES
from portal.words.nouns import PLURALS
from portal.words.numbers import NUMBERS
from portal.words.table import Row, Table
from portal.words.translations import TRANSLATIONS
from portal.words.verbs import VERBS

MAX_NEW_TOKENS = 24
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
    """A table, what is asked about its rows, and how answers are judged."""

    table: Table
    columns: tuple[str, ...]
    ask: Ask
    answers: AnswerConfig


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


def _judged(metric: str) -> AnswerConfig:
    return AnswerConfig(metric=metric, max_new_tokens=MAX_NEW_TOKENS)


_TASKS: Mapping[str, WrittenTask] = {
    "write_capital": WrittenTask(COUNTRIES, ("country", "capital"), _ask_capital, _judged("exact_match")),
    "write_french": WrittenTask(TRANSLATIONS, ("english", "french"), _ask_french, _judged("exact_match")),
    "write_forms": WrittenTask(VERBS, ("verb", "past", "gerund"), _ask_forms, _judged("json_f1")),
    "write_plurals": WrittenTask(PLURALS, ("singular", "plural"), _ask_plurals, _judged("token_f1")),
    "write_yesterday": WrittenTask(VERBS, ("third", "past"), _ask_yesterday, _judged("rouge_l")),
    "write_sum": WrittenTask(NUMBERS, ("number", "word"), _ask_sum, _judged("numeric_match")),
}
WRITTEN_TASKS = tuple(_TASKS)


def answers_of(task: str) -> AnswerConfig | None:
    """How answers to the task are judged; None for a task of another suite."""
    return _TASKS[task].answers if task in _TASKS else None


def written_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split, one per row of its table, the same everywhere.

    Splits are those of `words`: a subject has the same one in every task. Raises ValueError for an unknown
    task or split.
    """
    check_drawn(task, split, _TASKS)
    return list(_draw_split(task, split))


@cache
def _draw_split(task: str, split: str) -> tuple[Example, ...]:
    """One question per row of the split, in an order of the task's own."""
    own, rng = _TASKS[task], random.Random(f"written-words {task} {split}")
    table = own.table
    rows = tuple(
        row
        for row in table.rows
        if table.splits[row[table.key_column][0]] == split and all(column in row for column in own.columns)
    )
    drawn = [(row, own.ask(rng, row, rows)) for row in rng.sample(rows, len(rows))]
    return tuple(
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
    )
