"""Degrees of adjectives beside lemminflect; opposites are mutual where both words are asked about."""

import pytest

from portal.words.adjectives import ADJECTIVES
from tests.support.oracles import need_oracle


@pytest.mark.oracle
@pytest.mark.parametrize(("column", "tag"), [("comparative", "JJR"), ("superlative", "JJS")])
def test_degrees_are_those_of_lemminflect(column: str, tag: str) -> None:
    get_inflection = need_oracle("lemminflect").getInflection

    for row in ADJECTIVES.rows:
        if column in row and row["word"][0] != "true":  # lemminflect: "trueer"
            assert row[column][0] in get_inflection(row["word"][0], tag), row


def test_where_both_words_have_an_opposite_each_is_right_for_the_other() -> None:
    opposites = {row["word"][0]: row["antonym"] for row in ADJECTIVES.rows if "antonym" in row}

    one_sided = [
        (word, words[0])
        for word, words in opposites.items()
        if words[0] in opposites and word not in opposites[words[0]]
    ]

    assert one_sided == []
