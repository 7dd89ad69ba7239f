"""The table of new tasks."""

from analysis.tables.new_tasks import new_tasks_table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.new_tasks import new_tasks_study, target_with_new_tasks


def test_every_method_number_of_rows_and_source_has_a_row_with_both_sets() -> None:
    table = new_tasks_table(target_with_new_tasks(new_tasks_study()))

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    carried = [row for row in rows if row["method"] == "carried latents"]
    spots = [(row["rows per task"], row["source tasks"], row["kinds of these"]) for row in carried]
    assert spots == [("4", "1", "1"), ("4", "2", "2"), ("16", "1", "1"), ("16", "2", "2")]
    assert all(
        " to " in row["new tasks of known kinds: 95 %"] and " to " in row["new tasks of new kinds: 95 %"]
        for row in carried
    )
    assert all(row["new tasks of known kinds: lift"].endswith(" %") for row in carried)
    (lora,) = [row for row in rows if row["method"] == "per-task LoRA" and row["rows per task"] == "48"]
    assert (lora["source tasks"], lora["new tasks of known kinds: lift"]) == ("\u2014", "\u2014")

    (base,) = [row for row in rows if row["method"] == "frozen base"]
    assert base["new tasks of new kinds: acc_norm"].startswith("0.")
    means = [row for row in rows if row["method"] == "port with the mean latent"]
    assert [(row["rows per task"], row["source tasks"]) for row in means] == [
        ("\u2014", "1"),
        ("\u2014", "2"),
    ]


def test_without_new_tasks_there_is_none() -> None:
    assert new_tasks_table(target_of_study(few_rows_study(port=0.7, shared=0.3))) is None
