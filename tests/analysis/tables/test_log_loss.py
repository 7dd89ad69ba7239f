"""The table of log-loss by size."""

from analysis.tables.log_loss import log_loss_table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.result_tables import StudyBuilder, target_of


def test_every_method_and_size_has_a_row_and_a_verdict_against_the_lora() -> None:
    table = log_loss_table(target_of_study(few_rows_study(port=0.7, shared=0.3)))

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert len(rows) == 3 * 3
    assert {each["verdict"] for each in rows if each["method"].startswith("PorTAL")} == {"below the LoRA's"}
    assert {each["verdict"] for each in rows if each["method"].startswith("per-task")} == {"\u2014"}
    assert all(" to " in each["log-loss: 95 %"] for each in rows)


def test_without_a_method_that_is_trained_at_a_size_there_is_none() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")

    assert log_loss_table(target_of(builder.rows)) is None
