"""The table of written answers: texts in a line each, cut where a reader still knows the row."""

from dataclasses import replace

from analysis.stats.written_answers import Contrast
from analysis.tables.written_answers import written_answers_table
from tests.support.result_tables import row, target_of


def test_texts_stand_in_a_line_each_and_long_ones_are_cut() -> None:
    target = target_of([row(run="b")])
    assert written_answers_table(target) is None

    contrast = Contrast("list", "e", "x " * 300 + "the end:", "right\nanswer", "y" * 300, 0.0, " a | b", 1.0)
    table = written_answers_table(replace(target, contrasts=(contrast,)))
    assert table is not None
    (texts,) = table.texts
    assert texts[0] == "list"
    assert texts[1].startswith("... ")
    assert texts[1].endswith("the end:")
    assert texts[2:5] == ("right answer", "y" * 240 + " ...", "a | b")
    assert texts[5:] == ("0.000", "1.000")
    assert "a \\| b" in table.to_markdown()
