"""Answers to a query as a table."""

from pathlib import Path

from analysis.stats.findings import load_runs
from analysis.stats.query import Query
from analysis.tables.query import query_table
from tests.support.result_tables import StudyBuilder, fill_demo


def test_a_table_has_a_row_per_group_with_the_columns_that_were_asked_for(tmp_path: Path) -> None:
    study = load_runs(fill_demo(StudyBuilder(with_predictions=False)).write(tmp_path))

    table = query_table(study, Query.parse("base=mini-qwen3-m size<=16", ("method", "size")))

    assert table.names == ("method", "size", "acc_norm", "log-loss", "tasks", "runs")
    assert [row[:2] for row in table.rows] == [("portal", 8), ("portal", 16), ("lora", 8), ("lora", 16)]
    assert [row[-2:] for row in table.rows] == [(3, 3)] * 4
    first, *_, last = table.to_text().splitlines()
    assert first.split() == list(table.names)
    assert last.split()[:2] == ["lora", "16"]
