"""The tables of new tasks."""

import pytest

from analysis.tables.new_tasks import new_tasks_leads_table, new_tasks_tables
from analysis.tables.table import Table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.new_tasks import new_tasks_study, target_with_new_tasks


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
