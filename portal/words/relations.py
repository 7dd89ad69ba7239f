"""`Relation`: what is asked about the rows of a table; the relations of source tasks, and new ones."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from portal.mini.question import Question
from portal.words.adjectives import ADJECTIVES
from portal.words.animals import ANIMALS
from portal.words.cities import CITIES
from portal.words.countries import COUNTRIES
from portal.words.elements import ELEMENTS
from portal.words.nouns import GENDERS, PLURALS
from portal.words.numbers import NUMBERS
from portal.words.people import PEOPLE, WORKS
from portal.words.states import STATES
from portal.words.table import Row, Table
from portal.words.things import THINGS
from portal.words.translations import TRANSLATIONS
from portal.words.verbs import VERBS


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
