"""Elements and symbols, beside periodictable."""

import pytest

from portal.words.elements import ELEMENTS
from tests.support.oracles import need_oracle


def test_the_rival_of_an_element_is_another_one_that_begins_like_the_symbol() -> None:
    rivals = [(row["namesake"][0], row) for row in ELEMENTS.rows if "namesake" in row]

    assert len(rivals) > 60
    for rival, row in rivals:
        assert rival != row["element"][0]
        assert rival[0] == row["symbol"][0][0].lower()


def test_no_two_elements_have_one_symbol() -> None:
    assert len({row["symbol"] for row in ELEMENTS.rows}) == len(ELEMENTS.rows)


@pytest.mark.oracle
def test_symbols_are_those_of_periodictable() -> None:
    elements = need_oracle("periodictable").elements

    for row in ELEMENTS.rows:
        assert elements.symbol(row["symbol"][0]).name == row["element"][0]
