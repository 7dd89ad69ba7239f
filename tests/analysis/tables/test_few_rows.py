"""The tables of tasks without a row and of new tasks, and the report that shows them."""

from pathlib import Path

import pytest

from analysis import ReportInput, write_report
from analysis.tables.few_rows import (
    against_controls_table,
    calibrated_tasks_table,
    new_tasks_leads_table,
    new_tasks_tables,
    without_rows_table,
)
from analysis.tables.table import Table
from tests.support.few_rows import HALVES, add_split, few_rows_study, target_of_study
from tests.support.new_tasks import new_tasks_study, target_with_new_tasks
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


def rows_of(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.names, texts, strict=True)) for texts in table.texts]


def test_every_set_has_a_table_with_a_row_for_each_method_number_of_rows_and_source() -> None:
    known, every, new = new_tasks_tables(target_with_new_tasks(new_tasks_study()))

    assert known.title == "big: 4 new tasks of known kinds, by rows and by source"
    assert (every.slug, new.slug) == (
        "new-tasks-of-kinds-that-every-source-had-big", "new-tasks-of-new-kinds-big",
    )  # fmt: skip
    for table, own in ((known, ("2", "4")), (every, ("2", "2")), (new, ("0", "0"))):
        rows = rows_of(table)
        carried = [row for row in rows if row["method"] == "carried latents"]
        spots = [(row["rows per task"], row["source tasks"], row["kinds of these"]) for row in carried]
        assert spots == [("4", "1", "1"), ("4", "2", "2"), ("16", "1", "1"), ("16", "2", "2")]
        assert [row["tasks of these kinds"] for row in carried] == [*own, *own]
        assert all(" to " in row["95 %"] for row in carried)
        assert all(row["lift"].endswith(" %") for row in carried)
        (lora,) = [row for row in rows if row["method"] == "per-task LoRA" and row["rows per task"] == "48"]
        assert (lora["source tasks"], lora["lift"]) == ("\u2014", "\u2014")
        (base,) = [row for row in rows if row["method"] == "frozen base"]
        assert base["acc_norm"].startswith("0.")
        means = [row for row in rows if row["method"] == "port with the mean latent"]
        assert [(row["rows per task"], row["source tasks"]) for row in means] == [
            ("\u2014", "1"),
            ("\u2014", "2"),
        ]


def test_leads_are_those_of_the_largest_source_over_controls_and_a_lora_with_as_many_rows() -> None:
    target = target_with_new_tasks(new_tasks_study())
    table = new_tasks_leads_table(target)

    assert table is not None
    assert table.title.endswith("methods from a source of 2 tasks against their rivals")
    rows = [row for row in rows_of(table) if row["tasks"] == "new tasks of known kinds"]
    assert [
        (row["method"], row["against"], row["rows per task"], row["its rows per task"]) for row in rows
    ] == [
        ("carried latents", "port with the mean latent", "4", "\u2014"),
        ("carried latents", "per-task LoRA", "4", "4"),
        ("carried latents", "port with the mean latent", "16", "\u2014"),
    ]
    found = target.new_tasks
    assert found is not None
    scores = {
        (place.cell.method, place.rows): found.sets[0].scores[place.cell].summary.acc.known
        for place in found.places
        if place.num_tasks in (2, None)
    }
    expected = 100 * (scores["carried", 4] - scores["lora", 4])
    assert float(rows[1]["difference (points)"].replace("\u2212", "-")) == pytest.approx(expected, abs=0.1)


def test_without_new_tasks_there_is_none() -> None:
    target = target_of_study(few_rows_study(port=0.7, shared=0.3))

    assert new_tasks_tables(target) == ()
    assert new_tasks_leads_table(target) is None
