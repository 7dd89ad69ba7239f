"""The facts of `words`: a table for each kind of subject, read from facts/NAME.csv, and those of numbers."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Row = Mapping[str, tuple[str, ...]]
"""By column: the value, and behind it other words that are right as well. An empty field has no entry."""
_TURNS = ("train", "test", "train", "validation", "train", "test")
"""Splits take turns over a table's shuffled rows: a half, a sixth and a third of them."""


@dataclass(frozen=True)
class Table:
    """Rows under the same columns. The first column names what a row is about, and no two are the same."""

    name: str
    rows: tuple[Row, ...]

    def with_column(self, column: str, make: Callable[[Row], str]) -> "Table":
        """The table with a further column, made of the others; an empty text leaves the field empty."""
        rows = [{**row, column: (made,)} if (made := make(row)) else row for row in self.rows]
        return Table(self.name, tuple(rows))

    @cached_property
    def key_column(self) -> str:
        return next(iter(self.rows[0]))

    @cached_property
    def splits(self) -> Mapping[str, str]:
        """The split of every row, by what the row is about: the same for all that is asked about it."""
        keys = [row[self.key_column][0] for row in self.rows]
        shuffled = random.Random(f"words {self.name}").sample(keys, len(keys))
        return {key: _TURNS[place % len(_TURNS)] for place, key in enumerate(shuffled)}


def read_table(name: str, text: str) -> Table:
    """The table in `text`: a line of columns, then a line per row; fields part at commas, words at slashes.

    Raises ValueError for a row with another number of fields than there are columns.
    """
    header, *lines = text.strip().splitlines()
    columns = [column.strip() for column in header.split(",")]
    rows = []
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(columns):
            raise ValueError(f"table {name!r}: {line!r} has {len(fields)} fields instead of {len(columns)}")
        rows.append({c: tuple(field.split("/")) for c, field in zip(columns, fields, strict=True) if field})
    return Table(name, tuple(rows))


_LAST = 96
_ONES = (
    "", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_ROMAN = ((90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def number_word(number: int) -> str:
    """The number from 1 to 99 in words: "forty-two"."""
    if number < len(_ONES):
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def ordinal_word(number: int) -> str:
    """The ordinal of a number from 1 to 99 in words: "forty-second"."""
    *before, last = number_word(number).split("-")
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    else:
        last = f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th"
    return "-".join((*before, last))


def roman_numeral(number: int) -> str:
    """The number from 1 to 99 in Roman numerals: "XLII"."""
    numeral = ""
    for value, sign in _ROMAN:
        numeral += sign * (number // value)
        number %= value
    return numeral


def _forms(number: int) -> Row:
    return {
        "number": (str(number),),
        "word": (number_word(number),),
        "ordinal": (ordinal_word(number),),
        "numeral": (roman_numeral(number),),
        "next_number": (str(number + 1),),
        "next_numeral": (roman_numeral(number + 1),),
    }


def _facts(file: str, subject: str) -> Table:
    path = Path(__file__).parent / "facts" / f"{file}.csv"
    return read_table(subject, path.read_text(encoding="utf-8"))


def _of_country(column: str) -> Callable[[Row], str]:
    return lambda city: _BY_COUNTRY[city["country"][0]].get(column, ("",))[0]


def _first_two_letters(row: Row) -> str:
    return row["element"][0][:2].capitalize()


def _outer_letters(row: Row) -> str:
    element = row["element"][0]
    return f"{element[0].upper()}{element[-1]}"


def _like_the_symbol(row: Row) -> str:
    """Another element that begins like this symbol, and has its second letter where there is such a one."""
    own, first, rest = row["element"][0], row["symbol"][0][0].lower(), row["symbol"][0][1:]
    others = [name for name in _NAMES if name.startswith(first) and name != own]
    return next((name for name in others if rest in name), others[0] if others else "")


COUNTRIES = _facts("countries", "country")
"""A field is empty where the answer is disputed, has two forms of one rank, or is part of the name."""
_BY_COUNTRY = {row["country"][0]: row for row in COUNTRIES.rows}
CITIES = (
    _facts("cities", "city")
    .with_column("nationality", _of_country("nationality"))
    .with_column("capital", _of_country("capital"))
)
"""Cities that are not the capital, with the nationality and the capital of their country as rivals."""
STATES = _facts("states", "state")
"""The fifty states of the United States; another city of a state is a rival of its capital."""
VERBS = _facts("verbs", "verb")
"""Irregular verbs. The form in -s is a rival only."""
ADJECTIVES = _facts("adjectives", "adjective")
"""Degrees, adverbs, and opposites of words of every kind. Synonyms are rivals only."""
PLURALS = _facts("plurals", "noun").with_column("regular", lambda noun: f"{noun['singular'][0]}s")
"""Plurals that an s alone does not form. Rivals are the singular itself and the word with an s."""
GENDERS = _facts("genders", "pair")
"""Words for male and female."""
ANIMALS = _facts("animals", "animal")
"""Where two words for the young are of one rank, the other stands behind the answer and is never a choice."""
TRANSLATIONS = _facts("translations", "translation")
"""The word in another language is a rival; a word that is the same as the English one is left out."""
PEOPLE = _facts("people", "person")
"""First names and professions of well-known people."""
WORKS = _facts("works", "work")
"""The author's first name and the kind of work are rivals only."""
THINGS = _facts("things", "thing")
"""Categories and colours. What comes to mind with the thing is a rival only."""
_ELEMENTS = _facts("elements", "element")
_NAMES = tuple(row["element"][0] for row in _ELEMENTS.rows)
ELEMENTS = (
    _ELEMENTS.with_column("first_two_letters", _first_two_letters)
    .with_column("outer_letters", _outer_letters)
    .with_column("namesake", _like_the_symbol)
)
"""The rivals of a symbol are letters of the name, some of them the symbol of another element; the rival of an
element is one that the symbol would fit as well."""
NUMBERS = Table("number", tuple(_forms(number) for number in range(1, _LAST + 1)))
"""From 1 to 96, in digits, in words, as ordinals and as Roman numerals."""
