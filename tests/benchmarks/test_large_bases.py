"""The table of large bases in the docs is what its command prints."""

from pathlib import Path

from benchmarks.large_bases import BASES, HEADERS, rows

DOCS = Path(__file__).parents[2] / "docs" / "bases.md"


def test_the_table_of_the_docs_is_what_the_command_prints() -> None:
    text = DOCS.read_text()

    assert f"| {' | '.join(HEADERS)} |" in text
    for name in BASES:
        whole, *quantised = rows(name)
        lines = [f"| {' | '.join(whole)} |"]
        lines += [
            f"| | | {' | '.join(packed[2:])} |" for packed in quantised[1:]
        ]  # of 8 bits it says nothing
        assert "\n".join(lines) in text
