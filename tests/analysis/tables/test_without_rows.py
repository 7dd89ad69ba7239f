"""The table of tasks without a row, and the report that shows it."""

from pathlib import Path

from analysis import ReportInput, write_report
from analysis.tables.without_rows import without_rows_table
from tests.support.result_tables import StudyBuilder, target_of


def study() -> StudyBuilder:
    """A port on all tasks and one that is calibrated on two of three."""
    builder = StudyBuilder()
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.5, 0.8))
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    key = builder.add("portal", seed=0, size=8, rates=(0.5, 0.65), label="two")
    for line in builder.rows:
        if line["run"] == key:
            line["calibrated"] = line["task"] != "pronoun"
    return builder


def test_the_table_has_the_methods_with_tasks_without_a_row_only() -> None:
    table = without_rows_table(target_of(study().rows))

    assert table is not None
    assert [row[:2] for row in table.texts] == [("PorTAL (two) q,v r8", "8")]
    shown = dict(zip(table.names, table.texts[0], strict=True))
    assert (shown["tasks calibrated"], shown["tasks without a row"]) == ("2", "1")
    assert shown["share of the rise"].endswith(" %")


def test_a_share_that_is_left_out_names_the_method_and_its_size_where_it_has_one() -> None:
    rows = study().rows
    for line in rows:
        if line["method"] == "base":
            line["acc_norm"] = 0.9
    without_size = [
        {**line, "run": "m", "label": "three", "size": None} for line in rows if line["label"] == "two"
    ]

    table = without_rows_table(target_of([*rows, *without_size]))

    assert table is not None
    reason = "the calibrated tasks do not rise above the frozen base"
    assert sorted(table.reasons) == [
        f"PorTAL (three) q,v r8: {reason}",
        f"PorTAL (two) q,v r8 at size 8: {reason}",
    ]


def test_a_study_without_such_tasks_has_no_table() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))

    assert without_rows_table(target_of(builder.rows)) is None


def test_the_report_shows_it_and_says_how_to_read_it(tmp_path: Path) -> None:
    page = write_report([ReportInput(study().write(tmp_path / "results"))], tmp_path / "report").read_text()

    assert "big: tasks without a row" in page
    assert "Some ports were trained on a part of their tasks and scored on all." in page
    assert (tmp_path / "report" / "tables").is_dir()
