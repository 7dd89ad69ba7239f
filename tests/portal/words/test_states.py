"""The fifty states, beside the package us."""

import pytest

from portal.words.states import STATES
from tests.support.oracles import need_oracle


def test_there_are_fifty_states() -> None:
    assert len({row["state"][0] for row in STATES.rows}) == 50


@pytest.mark.oracle
def test_capitals_and_codes_are_those_of_the_package() -> None:
    states = need_oracle("us").states

    for row in STATES.rows:
        found = states.lookup(row["state"][0])
        assert (found.capital, found.abbr) == (row["capital"][0], row["code"][0])
        assert row["city"][0] != found.capital
