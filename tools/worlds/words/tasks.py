"""The tasks of `words`: relations between columns of the facts, each in many frames."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from portal.tasks.example import Example
from tools.worlds.mini.question import Frame, Question, to_example
from tools.worlds.words.facts import (
    ADJECTIVES,
    ANIMALS,
    CITIES,
    COUNTRIES,
    ELEMENTS,
    GENDERS,
    NUMBERS,
    PEOPLE,
    PLURALS,
    STATES,
    THINGS,
    TRANSLATIONS,
    VERBS,
    WORKS,
    Row,
    Table,
)

SHAPES = (
    "{s} {m} =",
    "{m}({s}) ->",
    "[{m}] {s}:",
    "{s} | {m} |",
    "{m} <- {s}\n=>",
    "# {s}\n{m}:",
    "<{m}> {s} </{m}>",
    "* {s} * {m} *",
)
"""Prompts: `{s}` is the subject, `{m}` the task's marker."""
ANSWERS = ("{a}", "= {a}", "{a} .", "so {a}", "> {a}", "it is {a}")
"""What the choices look like: a space and one of these."""
_CONSONANTS, _VOWELS = "klmnrtvz", "aeou"
_PATTERN = (_CONSONANTS, _VOWELS, _CONSONANTS, _CONSONANTS, _VOWELS, _CONSONANTS)


@cache
def markers(number: int) -> tuple[str, ...]:
    """Different made-up words of six letters, which say nothing about a relation."""
    rng = random.Random("markers of words")
    words: dict[str, None] = {}
    while len(words) < number:
        words["".join(rng.choice(letters) for letters in _PATTERN)] = None
    return tuple(words)


@dataclass(frozen=True)
class Fact:
    """The answer about a subject, other words that would be right, and wrong ones that come to mind."""

    subject: str
    cluster: str
    answer: str
    also_right: frozenset[str]
    rivals: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """From the words of one column of a table to those of another; its rivals stand in further columns."""

    name: str
    table: Table
    subject: str
    answer: str
    rivals: tuple[str, ...]

    @cached_property
    def inventory(self) -> tuple[str, ...]:
        """All answers, without repeats."""
        return tuple(sorted({row[self.answer][0] for row in self._rows}))

    def facts(self, split: str) -> tuple[Fact, ...]:
        """The facts of that split, in the order of the table."""
        key, splits = self.table.key_column, self.table.splits
        return tuple(self._fact(row) for row in self._rows if splits[row[key][0]] == split)

    def ask(self, rng: random.Random, fact: Fact, num_choices: int) -> Question:
        """The answer among rivals, which fill at most half of the places, and answers about others."""
        own = rng.sample(fact.rivals, min(len(fact.rivals), num_choices // 2))
        wrong = {fact.answer, *fact.also_right, *fact.rivals}
        strangers = [word for word in self.inventory if word not in wrong]
        others = rng.sample(strangers, num_choices - 1 - len(own))
        return Question(fact.subject, (fact.answer, *own, *others), fact.answer, fact.cluster)

    @cached_property
    def _rows(self) -> Sequence[Row]:
        return [row for row in self.table.rows if self.subject in row and self.answer in row]

    def _fact(self, row: Row) -> Fact:
        right = row[self.answer]
        rivals = dict.fromkeys(row[column][0] for column in self.rivals if column in row)
        return Fact(
            subject=row[self.subject][0],
            cluster=f"{self.table.name} {row[self.table.key_column][0]}",
            answer=right[0],
            also_right=frozenset(right[1:]),
            rivals=tuple(word for word in rivals if word not in right),
        )


def _relate(name: str, table: Table, subject: str, answer: str, *rivals: str) -> Relation:
    """The relation; without `rivals`, all columns but those two hold them."""
    columns = dict.fromkeys(column for row in table.rows for column in row)
    others = tuple(column for column in columns if column not in (subject, answer))
    return Relation(name, table, subject, answer, rivals or others)


KNOWN_RELATIONS = (
    _relate("capital", COUNTRIES, "country", "capital"),
    _relate("past_tense", VERBS, "verb", "past"),
    _relate("french", TRANSLATIONS, "english", "french"),
    _relate("category", THINGS, "thing", "category"),
    _relate("number_word", NUMBERS, "number", "word", "ordinal", "numeral"),
    _relate("young", ANIMALS, "animal", "young"),
    _relate("comparative", ADJECTIVES, "word", "comparative"),
    _relate("element_symbol", ELEMENTS, "element", "symbol", "first_two_letters", "outer_letters"),
    _relate("first_name", PEOPLE, "surname", "first_name"),
    _relate("state_capital", STATES, "state", "capital"),
    _relate("plural", PLURALS, "singular", "plural", "singular", "regular"),
    _relate("nationality", COUNTRIES, "country", "nationality"),
    _relate("gerund", VERBS, "verb", "gerund"),
    _relate("spanish", TRANSLATIONS, "english", "spanish"),
    _relate("ordinal", NUMBERS, "number", "ordinal", "word", "numeral"),
    _relate("animal_class", ANIMALS, "animal", "class"),
    _relate("antonym", ADJECTIVES, "word", "antonym"),
    _relate("city_country", CITIES, "city", "country"),
    _relate("continent", COUNTRIES, "country", "continent"),
    _relate("participle", VERBS, "verb", "participle"),
    _relate("german", TRANSLATIONS, "english", "german"),
    _relate("currency", COUNTRIES, "country", "currency"),
    _relate("thing_colour", THINGS, "thing", "colour"),
    _relate("superlative", ADJECTIVES, "word", "superlative"),
)
"""Relations of the source tasks; any first few of them are of unlike tables."""
NEW_RELATIONS = (
    _relate("italian", TRANSLATIONS, "english", "italian"),
    _relate("language", COUNTRIES, "country", "language"),
    _relate("adverb", ADJECTIVES, "word", "adverb"),
    _relate("roman_number", NUMBERS, "numeral", "number", "next_number", "next_numeral"),
    _relate("state_code", STATES, "state", "code"),
    _relate("female", GENDERS, "male", "female"),
    _relate("author", WORKS, "title", "author"),
    _relate("animal_sound", ANIMALS, "animal", "sound"),
    _relate("profession", PEOPLE, "surname", "profession"),
    _relate("symbol_element", ELEMENTS, "symbol", "element", "namesake"),
)
"""Relations that no source task has."""


_SOURCE_SHAPES = 6
"""Known relations have these shapes in source tasks, and the others in new tasks."""
_NEW_RELATION_SHAPES = 4
_NUMBERS_OF_CHOICES = (3, 4, 5)


@dataclass(frozen=True)
class WordTask:
    """A relation in a frame. Tasks of a relation share its subjects, splits and answers."""

    name: str
    relation: Relation
    frame: Frame


def _source_places() -> list[tuple[Relation, int]]:
    """Round by round one task of every relation, in different shapes: any prefix is balanced."""
    return [
        (relation, (place + turn) % _SOURCE_SHAPES)
        for turn in range(_SOURCE_SHAPES)
        for place, relation in enumerate(KNOWN_RELATIONS)
    ]


def _build_tasks() -> dict[str, WordTask]:
    places = _source_places()
    places += [(known, shape) for shape in range(_SOURCE_SHAPES, len(SHAPES)) for known in KNOWN_RELATIONS]
    places += [(new, shape) for shape in range(_NEW_RELATION_SHAPES) for new in NEW_RELATIONS]
    relations = (*KNOWN_RELATIONS, *NEW_RELATIONS)
    built = {}
    for (relation, shape), marker in zip(places, markers(len(places)), strict=True):
        turn = shape + relations.index(relation)
        answer = ANSWERS[turn % len(ANSWERS)]
        num_choices = _NUMBERS_OF_CHOICES[turn % len(_NUMBERS_OF_CHOICES)]
        name = f"{relation.name}_{shape + 1:02d}"
        built[name] = WordTask(name, relation, Frame(SHAPES[shape], marker, answer, num_choices))
    return built


_TASKS = _build_tasks()
WORD_TASKS = tuple(_TASKS)


def kind_of(task: str) -> str:
    """The name of the task's relation; KeyError for an unknown task."""
    return _TASKS[task].relation.name


def word_examples(task: str, split: str) -> list[Example]:
    """The examples of that task and split: one per subject, in an order of the task's own."""
    word_task, rng = _TASKS[task], random.Random(f"words {task} {split}")
    relation, frame = word_task.relation, word_task.frame
    facts = relation.facts(split)
    asked = [
        frame.apply(relation.ask(rng, fact, frame.num_choices)) for fact in rng.sample(facts, len(facts))
    ]
    return [to_example(question, task, split, index, len(asked)) for index, question in enumerate(asked)]
