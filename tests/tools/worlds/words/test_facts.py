"""Tables of facts are read strictly and do not contradict themselves; splits take turns over rows."""

from collections import Counter

import pytest

from tools.worlds.words.facts import (
    ADJECTIVES,
    ELEMENTS,
    GENDERS,
    NUMBERS,
    STATES,
    number_word,
    ordinal_word,
    read_table,
    roman_numeral,
)
from tools.worlds.words.tasks import KNOWN_RELATIONS, NEW_RELATIONS

RELATIONS = (*KNOWN_RELATIONS, *NEW_RELATIONS)
TEXT = """
country, capital, language
Chile, Santiago, Spanish
Canada, Ottawa, English/French
Kuwait, , Arabic
"""


def test_a_field_holds_the_value_and_what_is_right_as_well_and_an_empty_one_has_no_entry() -> None:
    table = read_table("country", TEXT)
    chile, canada, kuwait = table.rows

    assert chile == {"country": ("Chile",), "capital": ("Santiago",), "language": ("Spanish",)}
    assert canada["language"] == ("English", "French")
    assert "capital" not in kuwait
    # A further column is made of the others and may stay empty.
    more = table.with_column("initial", lambda row: row["capital"][0][0] if "capital" in row else "")
    assert [row.get("initial") for row in more.rows] == [("S",), ("O",), None]
    with pytest.raises(ValueError, match="table 'country': 'Peru, Lima' has 2 fields instead of 3"):
        read_table("country", f"{TEXT}Peru, Lima\n")


def test_splits_are_a_half_a_sixth_and_a_third_of_the_rows_and_no_two_rows_are_about_the_same() -> None:
    for table in {relation.table.name: relation.table for relation in RELATIONS}.values():
        counts = Counter(table.splits.values())
        assert len(table.splits) == len(table.rows)
        for split, part in (("train", 2), ("validation", 6), ("test", 3)):
            assert counts[split] == pytest.approx(len(table.rows) / part, abs=1)


def test_where_both_words_have_an_opposite_each_is_right_for_the_other() -> None:
    opposites = {row["word"][0]: row["antonym"] for row in ADJECTIVES.rows if "antonym" in row}

    for word, (other, *_) in opposites.items():
        assert word in opposites.get(other, (word,)), (word, other)


def test_no_word_for_a_male_is_one_for_a_female_no_state_or_symbol_is_there_twice() -> None:
    males = {row["male"][0] for row in GENDERS.rows}
    rivals = [(row["namesake"][0], row) for row in ELEMENTS.rows if "namesake" in row]

    assert not males & {word for row in GENDERS.rows for word in row["female"]}
    assert len({row["state"][0] for row in STATES.rows}) == 50
    assert len({row["symbol"] for row in ELEMENTS.rows}) == len(ELEMENTS.rows)
    assert len(rivals) > 60
    for rival, row in rivals:  # the rival of an element is another one that begins like the symbol
        assert rival != row["element"][0]
        assert rival[0] == row["symbol"][0][0].lower()


def test_numbers_in_all_their_forms() -> None:
    assert (number_word(42), ordinal_word(42), roman_numeral(42)) == ("forty-two", "forty-second", "XLII")
    assert (number_word(12), ordinal_word(12), roman_numeral(12)) == ("twelve", "twelfth", "XII")
    assert (number_word(90), ordinal_word(90), roman_numeral(90)) == ("ninety", "ninetieth", "XC")
    assert len(NUMBERS.rows) == 96
