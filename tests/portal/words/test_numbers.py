"""Number words and Roman numerals, beside num2words and roman."""

import pytest

from portal.words.numbers import NUMBERS, number_word, ordinal_word, roman_numeral
from tests.support.oracles import need_oracle

EVERY_NUMBER = range(1, 100)


def test_numbers_in_all_their_forms() -> None:
    assert (number_word(42), ordinal_word(42), roman_numeral(42)) == ("forty-two", "forty-second", "XLII")
    assert (number_word(12), ordinal_word(12), roman_numeral(12)) == ("twelve", "twelfth", "XII")
    assert (number_word(90), ordinal_word(90), roman_numeral(90)) == ("ninety", "ninetieth", "XC")
    assert len(NUMBERS.rows) == 96


@pytest.mark.oracle
def test_words_and_ordinals_are_those_of_num2words() -> None:
    num2words = need_oracle("num2words").num2words

    assert [number_word(n) for n in EVERY_NUMBER] == [num2words(n) for n in EVERY_NUMBER]
    assert [ordinal_word(n) for n in EVERY_NUMBER] == [num2words(n, to="ordinal") for n in EVERY_NUMBER]


@pytest.mark.oracle
def test_numerals_are_those_of_roman() -> None:
    to_roman = need_oracle("roman").toRoman

    assert [roman_numeral(n) for n in EVERY_NUMBER] == [to_roman(n) for n in EVERY_NUMBER]
