"""The tables of tasks without a row, and the report that shows them."""

from pathlib import Path

from analysis import ReportInput, write_report
from analysis.tables.without_rows import (
    against_controls_table,
    calibrated_tasks_table,
    without_rows_table,
)
from tests.support.few_rows import HALVES, add_split, few_rows_study, target_of_study
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


def test_both_groups_have_intervals_of_accuracy_and_rise_and_the_share_has_one() -> None:
    table = without_rows_table(target_of_study(few_rows_study(port=0.7, shared=0.3)))

    assert table is not None
    assert len(table.rows) == 2 * 3
    shown = dict(zip(table.names, table.texts[-1], strict=True))
    assert (shown["method"], shown["size"], shown["rows of all tasks"]) == ("PorTAL q,v r8", "16", "64")
    for name in ("95 % calibrated", "95 % without a row", "rise calibrated: 95 %", "share: 95 %"):
        assert " to " in shown[name], name
    assert table.reasons == ()


def test_every_port_is_compared_with_every_control_that_saw_the_same_rows() -> None:
    target = target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.7))

    table = against_controls_table(target)

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert [(each["control"].split(" q,v")[0], each["size"], each["verdict"]) for each in rows] == [
        (control, size, verdict)
        for size in ("1", "4", "16")
        for control, verdict in (
            ("one LoRA for all tasks", "port ahead"),
            ("port with the mean latent", "not distinguishable"),
        )
    ]
    assert {each["shared seeds"] for each in rows} == {"2"}


def test_a_study_without_controls_has_no_such_comparison() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] != "shared_lora"]

    assert against_controls_table(target_of_study(builder, with_predictions=False)) is None


def test_numbers_of_calibrated_tasks_are_set_side_by_side() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    one = target_of_study(builder, with_predictions=False)
    for seed, without in HALVES.items():
        most = tuple(task for task in builder.tasks if task != without[0])
        add_split(builder, "portal", seed, 4, most, unseen=0.5, seen=0.6, label="one")

    table = calibrated_tasks_table(target_of_study(builder, with_predictions=False))

    assert calibrated_tasks_table(one) is None
    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    found = [
        (each["method"], each["tasks calibrated"], each["rows of all tasks"])
        for each in rows
        if each["size"] == "4"
    ]
    assert found == [
        ("one LoRA for all tasks q,v r8", "4", "16"),
        ("PorTAL (one) q,v r8", "1", "4"),
        ("PorTAL q,v r8", "4", "16"),
    ]
