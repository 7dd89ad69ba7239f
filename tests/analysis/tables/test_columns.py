"""Values as people read them."""

from analysis.tables.columns import format_amount


def test_amounts_have_three_digits_or_are_whole() -> None:
    assert [format_amount(value) for value in (0.01234, 12.34, 999.4, 999.6, 123456.0, 2e9)] == [
        "0.0123", "12.3", "999", "1,000", "123,456", "2.00e+09",
    ]  # fmt: skip
