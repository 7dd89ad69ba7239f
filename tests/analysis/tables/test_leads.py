"""The table of ports against other methods."""

from analysis.tables.leads import leads_table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.result_tables import StudyBuilder, target_of


def test_every_port_other_method_and_size_has_a_row_with_a_verdict() -> None:
    table = leads_table(target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.25)))

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert [row["size"] for row in rows if row["against"].startswith("per-task LoRA")] == ["1", "4", "16"]
    assert {row["verdict"] for row in rows if row["against"].startswith("port with the mean")} == {"ahead"}
    assert all(row["difference: 95 %"].count(" to ") == 1 for row in rows)


def test_a_method_that_is_better_is_named_so() -> None:
    table = leads_table(target_of_study(few_rows_study(port=0.1, shared=0.9)))

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert {row["verdict"] for row in rows if row["against"].startswith("one LoRA")} == {"behind"}


def test_without_predictions_there_is_none() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=2, rates=(0.6,))

    assert leads_table(target_of(builder.rows)) is None
