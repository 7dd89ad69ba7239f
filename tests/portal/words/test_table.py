"""Tables are read strictly, and their splits take turns over the rows."""

from collections import Counter

import pytest

from portal.words.relations import KNOWN_RELATIONS, NEW_RELATIONS
from portal.words.table import read_table

TEXT = """
country, capital, language
Chile, Santiago, Spanish
Canada, Ottawa, English/French
Kuwait, , Arabic
"""


def test_a_field_holds_the_value_and_what_is_right_as_well_and_an_empty_one_has_no_entry() -> None:
    chile, canada, kuwait = read_table("country", TEXT).rows

    assert chile == {"country": ("Chile",), "capital": ("Santiago",), "language": ("Spanish",)}
    assert canada["language"] == ("English", "French")
    assert "capital" not in kuwait


def test_a_row_with_a_field_too_few_is_refused_by_table_and_row() -> None:
    with pytest.raises(ValueError, match="table 'country': 'Peru, Lima' has 2 fields instead of 3"):
        read_table("country", f"{TEXT}Peru, Lima\n")


def test_a_further_column_is_made_of_the_others_and_may_stay_empty() -> None:
    table = read_table("country", TEXT).with_column(
        "initial", lambda row: row["capital"][0][0] if "capital" in row else ""
    )

    assert [row.get("initial") for row in table.rows] == [("S",), ("O",), None]


@pytest.mark.parametrize(
    "table", {relation.table.name: relation.table for relation in (*KNOWN_RELATIONS, *NEW_RELATIONS)}.values()
)
def test_splits_are_a_half_a_sixth_and_a_third_of_the_rows_and_no_two_rows_are_about_the_same(table) -> None:
    counts = Counter(table.splits.values())

    assert len(table.splits) == len(table.rows)
    assert counts["train"] == pytest.approx(len(table.rows) / 2, abs=1)
    assert counts["validation"] == pytest.approx(len(table.rows) / 6, abs=1)
    assert counts["test"] == pytest.approx(len(table.rows) / 3, abs=1)
