"""The table of rows answered otherwise: texts in a line each, cut where a reader still knows the row."""

from dataclasses import replace

from analysis.stats.answers import ShownAnswer
from analysis.stats.contrasts import Contrast
from analysis.tables.runs import contrasts_table
from tests.support.result_tables import row, target_of


def test_texts_stand_in_a_line_each_and_long_ones_are_cut() -> None:
    target = target_of([row(run="b")])
    assert contrasts_table(target) is None

    prompt, right = "x " * 300 + "the end:", "right\nanswer"
    contrast = Contrast(
        ShownAnswer("list", "e", prompt, right, "y" * 300, 0.0),
        ShownAnswer("list", "e", prompt, right, " a | b", 1.0),
        ("p", "l"),
    )
    table = contrasts_table(replace(target, contrasts=(contrast,)))
    assert table is not None
    (texts,) = table.texts
    assert texts[:2] == ("list", "e")
    assert texts[2].startswith("... ")
    assert texts[2].endswith("the end:")
    assert texts[3:6] == ("right answer", "y" * 240 + " ...", "a | b")
    assert texts[6:] == ("0.000", "1.000")
    assert "a \\| b" in table.to_markdown()
    assert table.links == {}
    linked = contrasts_table(replace(target, contrasts=(contrast,)), "runs")
    assert linked is not None
    assert linked.links == {"port": ("runs/p.html",), "per-task LoRA": ("runs/l.html",)}
