"""Lines are counted by folder and kind, at commits and now."""

from tools.lines import counted, table


def test_lines_of_python_and_of_other_text_stand_beside_those_of_a_commit() -> None:
    before = counted(["abc:portal/a.py:1000", "abc:tests/goldens/keys.txt:3"])
    now = counted(["portal/a.py:5", "portal/b/c.py:6", "portal/b/d.yaml:7", "tests/e.json:8"])

    lines = table({"abc": before, "now": now})

    assert lines[:4] == [
        "| lines | abc | now |",
        "| --- | --- | --- |",
        "| portal, Python | 1,000 | 11 |",
        "| portal, other text | 0 | 7 |",
    ]
    assert lines[-2:] == ["| tests, other text | 3 | 8 |", "| all | 1,003 | 26 |"]
