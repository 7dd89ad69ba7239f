"""The table of large bases in the docs is what its command prints."""

from pathlib import Path

from benchmarks.large_bases import CONFIGS, HEADERS, rows

DOCS = Path(__file__).parents[2] / "docs" / "bases.md"


def test_the_table_of_the_docs_is_what_the_command_prints() -> None:
    text = DOCS.read_text()

    assert f"| {' | '.join(HEADERS)} |" in text
    for name, config in CONFIGS.items():
        whole, _, packed = rows(name, config)  # of 8 bits the docs say nothing
        assert f"| {' | '.join(whole)} |\n| | | {' | '.join(packed[2:])} |" in text
