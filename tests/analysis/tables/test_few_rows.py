"""The tables of tasks without a row and of new tasks, and the report that shows them."""

import pytest

from analysis.tables.few_rows import (
    against_controls_table,
    calibrated_tasks_table,
    new_tasks_leads_table,
    new_tasks_tables,
    without_rows_table,
)
from tests.support.few_rows import HALVES, INFO, add_split, few_rows_study, new_tasks_study, target_of_study
from tests.support.result_tables import StudyBuilder, known, shown, target_of


def study() -> StudyBuilder:
    """A port on all tasks and one that is calibrated on two of three."""
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.5, 0.8))
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    key = builder.add("portal", seed=0, size=8, rates=(0.5, 0.65), label="two")
    for line in builder.rows:
        if line["run"] == key:
            line["calibrated"] = line["task"] != "pronoun"
    return builder


def test_the_table_has_the_methods_with_tasks_without_a_row_only() -> None:
    (line,) = shown(without_rows_table(target_of(study().rows)))

    assert (line["method"], line["size"]) == ("PorTAL (two) q,v r8", "8")
    assert (line["tasks calibrated"], line["tasks without a row"]) == ("2", "1")
    assert line["share of the rise"].endswith(" %")


def test_a_share_that_is_left_out_names_the_method_and_its_size_where_it_has_one() -> None:
    rows = [{**line, "acc_norm": 0.9} if line["method"] == "base" else line for line in study().rows]
    rows += [{**line, "run": "m", "label": "three", "size": None} for line in rows if line["label"] == "two"]

    table = known(without_rows_table(target_of(rows)))

    reason = "the calibrated tasks do not rise above the frozen base"
    names = ("PorTAL (three) q,v r8", "PorTAL (two) q,v r8 at size 8")
    assert sorted(table.reasons) == [f"{name}: {reason}" for name in names]


def test_both_groups_have_intervals_of_accuracy_and_rise_and_the_share_has_one() -> None:
    table = known(without_rows_table(target_of_study(few_rows_study(port=0.7, shared=0.3))))
    line = shown(table)[-1]

    assert len(table.rows) == 2 * 3
    assert (line["method"], line["size"], line["rows of all tasks"]) == ("PorTAL q,v r8", "16", "64")
    for name in ("95 % calibrated", "95 % without a row", "rise calibrated: 95 %", "share: 95 %"):
        assert " to " in line[name], name
    assert table.reasons == ()


def test_every_port_is_compared_with_every_control_that_saw_the_same_rows() -> None:
    rows = shown(against_controls_table(target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.7))))

    verdicts = {"one LoRA for all tasks": "port ahead", "port with the mean latent": "not distinguishable"}
    assert [(each["control"].split(" q,v")[0], each["size"], each["verdict"]) for each in rows] == [
        (control, size, verdict) for size in ("1", "4", "16") for control, verdict in verdicts.items()
    ]
    assert {each["shared seeds"] for each in rows} == {"2"}


def test_numbers_of_calibrated_tasks_are_set_side_by_side() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    one = target_of_study(builder, with_predictions=False)
    for seed, without in HALVES.items():
        most = tuple(task for task in builder.tasks if task != without[0])
        add_split(builder, "portal", seed, 4, most, unseen=0.5, seen=0.6, label="one")

    rows = shown(calibrated_tasks_table(target_of_study(builder, with_predictions=False)))

    assert calibrated_tasks_table(one) is None
    columns = ("method", "tasks calibrated", "rows of all tasks")
    assert [tuple(each[name] for name in columns) for each in rows if each["size"] == "4"] == [
        ("one LoRA for all tasks q,v r8", "4", "16"),
        ("PorTAL (one) q,v r8", "1", "4"),
        ("PorTAL q,v r8", "4", "16"),
    ]


def test_every_set_has_a_table_with_a_row_for_each_method_number_of_rows_and_source() -> None:
    known_kinds, every, new = new_tasks_tables(target_of_study(new_tasks_study(), info=INFO))

    assert known_kinds.title == "big: 4 new tasks of known kinds, by rows and by source"
    assert every.slug == "new-tasks-of-kinds-that-every-source-had-big"
    assert new.slug == "new-tasks-of-new-kinds-big"
    for table, own in ((known_kinds, ("2", "4")), (every, ("2", "2")), (new, ("0", "0"))):
        rows = shown(table)

        def lines(method: str, *columns: str, rows: list[dict[str, str]] = rows) -> list[tuple[str, ...]]:
            return [tuple(row[name] for name in columns) for row in rows if row["method"] == method]

        assert lines("carried latents", "rows per task", "source tasks", "kinds of these") == [
            ("4", "1", "1"), ("4", "2", "2"), ("16", "1", "1"), ("16", "2", "2"),
        ]  # fmt: skip
        assert lines("carried latents", "tasks of these kinds") == [(each,) for each in (*own, *own)]
        assert all(
            " to " in interval and lift.endswith(" %")
            for interval, lift in lines("carried latents", "95 %", "lift")
        )
        assert ("48", "\u2014", "\u2014") in lines("per-task LoRA", "rows per task", "source tasks", "lift")
        ((base,),) = lines("frozen base", "acc_norm")
        assert base.startswith("0.")
        means = lines("port with the mean latent", "rows per task", "source tasks")
        assert means == [("\u2014", "1"), ("\u2014", "2")]


def test_leads_are_those_of_the_largest_source_over_controls_and_a_lora_with_as_many_rows() -> None:
    target = target_of_study(new_tasks_study(), info=INFO)
    table = known(new_tasks_leads_table(target))
    rows = [row for row in shown(table) if row["tasks"] == "new tasks of known kinds"]

    assert table.title.endswith("methods from a source of 2 tasks against their rivals")
    columns = ("method", "against", "rows per task", "its rows per task")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("carried latents", "port with the mean latent", "4", "\u2014"),
        ("carried latents", "per-task LoRA", "4", "4"),
        ("carried latents", "port with the mean latent", "16", "\u2014"),
    ]
    found = known(target.new_tasks)
    scores = {
        (place.cell.method, place.rows): found.sets[0].scores[place.cell].summary.acc.known
        for place in found.places
        if place.num_tasks in (2, None)
    }
    expected = 100 * (scores["carried", 4] - scores["lora", 4])
    assert float(rows[1]["difference (points)"].replace("\u2212", "-")) == pytest.approx(expected, abs=0.1)


def test_a_study_without_such_tasks_or_controls_has_none_of_these_tables() -> None:
    builder = few_rows_study(port=0.7, shared=0.3)
    builder.rows = [line for line in builder.rows if line["method"] != "shared_lora"]
    no_control = target_of_study(builder, with_predictions=False)
    no_split = target_of([line for line in study().rows if line["label"] != "two"])

    assert against_controls_table(no_control) is None
    assert without_rows_table(no_split) is None
    assert (new_tasks_tables(no_split), new_tasks_leads_table(no_split)) == ((), None)
