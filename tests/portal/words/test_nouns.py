"""Plurals, beside inflect and lemminflect."""

import pytest

from portal.words.nouns import GENDERS, PLURALS
from tests.support.oracles import need_oracle

UNKNOWN_TO_INFLECT = ("gentleman", "grandchild")
"""inflect takes their last part for a word of its own."""


@pytest.mark.oracle
def test_plurals_are_those_of_inflect_in_its_everyday_or_its_classical_mode() -> None:
    engine = need_oracle("inflect").engine()

    for row in PLURALS.rows:
        found = set()
        for classical in (False, True):
            engine.classical(all=classical)
            found.add(engine.plural_noun(row["singular"][0]))
        if row["singular"][0] not in UNKNOWN_TO_INFLECT:
            assert found & set(row["plural"]), (row, found)


@pytest.mark.oracle
def test_the_word_with_an_s_is_no_plural_unless_the_row_says_so() -> None:
    get_inflection = need_oracle("lemminflect").getInflection
    doubtful = {"halfs", "leafs", "louses"}  # forms of verbs, or of another sense

    for row in PLURALS.rows:
        if row["regular"][0] not in {*row["plural"], *doubtful}:
            assert row["regular"][0] not in get_inflection(row["singular"][0], "NNS"), row


def test_no_word_for_a_male_is_a_word_for_a_female() -> None:
    males = {row["male"][0] for row in GENDERS.rows}

    assert not males & {word for row in GENDERS.rows for word in row["female"]}
