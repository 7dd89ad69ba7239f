"""A number that is missing has its reason below every table that lacks it."""

from analysis.tables.accuracy import main_table
from analysis.tables.overview import overview_table
from analysis.tables.variants import rules_table
from tests.support.result_tables import published_rows, target_of


def test_a_lift_of_other_tasks_is_undefined_in_every_table_with_the_reason() -> None:
    rows = [
        line for line in published_rows() if line["run"] != "gemma-3-4b base None" or line["task"] == "easy"
    ]
    target = target_of(rows, "gemma-3-4b")
    for table in (main_table(target), overview_table([target.comparison]), rules_table(target)):
        assert any("scored on other tasks than frozen base" in reason for reason in table.reasons), (
            table.title
        )
        port = next(row for row in table.texts if "PorTAL" in row[0] or table.slug == "overview")
        assert "94.0 %" not in port
