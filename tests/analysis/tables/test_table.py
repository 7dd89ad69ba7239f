"""Values as people read them; a table as Markdown, LaTeX and CSV, which has plain numbers."""

from analysis.stats.aggregate import Quantity, Spread
from analysis.tables.table import (
    COUNT,
    DASH,
    PERCENT,
    SPREAD,
    WORD,
    Column,
    Table,
    format_amount,
    format_spread,
)


def test_amounts_have_three_digits_or_are_whole() -> None:
    assert [format_amount(value) for value in (0.01234, 12.34, 999.4, 999.6, 123456.0, 2e9)] == [
        "0.0123", "12.3", "999", "1,000", "123,456", "2.00e+09",
    ]  # fmt: skip


def test_markdown_latex_and_csv_escape_what_they_must() -> None:
    table = Table("T", "t", (Column("a|b", WORD), Column("n_1", COUNT)), (("x & y~^\\", 5),), ("50 %",))
    assert "| a\\|b | n_1 |" in table.to_markdown()
    assert "x \\& y\\textasciitilde{}\\textasciicircum{}\\textbackslash{} & 5 \\\\" in table.to_latex()
    assert table.to_csv() == "a|b,n_1\nx & y~^\\,5\n"


def test_csv_holds_plain_numbers_in_full_precision_and_empty_fields() -> None:
    columns = (Column("m", WORD), Column("acc", SPREAD), Column("lift", PERCENT))
    rows = (
        ("a", Spread(1 / 3, 0.25, 3), Quantity(0.5)),
        ("b", Spread(0.5, None, 1), Quantity(None, "why")),
        ("c", None, None),
    )
    table = Table("T", "t", columns, rows)
    assert table.to_csv() == ("m,acc,acc std,acc n,lift\na,0.3333333333333333,0.25,3,0.5\nb,0.5,,1,\nc,,,,\n")
    assert [row[1] for row in table.texts] == ["0.333 ± 0.250", "0.500", DASH]
    assert format_spread(Spread(None, None, 0, "why")) == DASH


def test_a_reason_of_several_lines_is_folded_into_one() -> None:
    table = Table("T", "t", (Column("n", COUNT),), ((1,),), ("loss is\nnan",))
    assert "% loss is nan\n" in table.to_latex()
    assert "- loss is nan\n" in table.to_markdown()
