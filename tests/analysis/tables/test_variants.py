"""Variants of a method are compared in a table of their own, and the table of rules has a row for each."""

from analysis.tables.variants import variants_table
from tests.support.result_tables import StudyBuilder, target_of


def test_ranks_and_modules_of_one_method_are_compared_in_a_table() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.8,))
    assert variants_table(target_of(builder.rows)) is None
    for rank in (4, 8):
        builder.rows += [
            {**line, "rank": rank, "method": "portal", "label": f"r{rank}", "run": f"r{rank}"}
            for line in builder.rows
            if line["method"] == "lora"
        ]
    table = variants_table(target_of(builder.rows))
    assert table is not None
    assert [row[:3] for row in table.rows] == [("PorTAL (r4)", "q,v", 4), ("PorTAL (r8)", "q,v", 8)]
