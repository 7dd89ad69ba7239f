"""Tables of curves, log-losses, leads and costs, where each run is counted once."""

from dataclasses import replace

from analysis.stats.aggregate import compare
from analysis.stats.result_table import gather_runs
from analysis.tables.curves import leads_table, log_loss_table, run_cost_table, study_cost_table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.result_tables import TASKS, StudyBuilder, target_of


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


def test_costs_are_those_of_the_whole_run() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    table = run_cost_table([compare(gather_runs(builder.results_table()), "big")], None)
    assert table.texts == (
        ("big", "PorTAL q,v r8", "8", "\u2014", "5,000", "2,000", "2.00e+09", "5.0", "0.00139"),
    )


def test_validation_rows_that_chose_the_reported_epoch_count_as_rows_of_the_run() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7), train_rows=8, keeps_best=False)
    study = gather_runs(builder.results_table())

    rows = {
        rule: run_cost_table([compare(study, "big", rule)], None).rows[0][3]
        for rule in ("best_on_validation", "final")
    }

    assert rows == {"best_on_validation": 3 * (8 + 120), "final": 3 * 8}


def test_the_study_costs_what_its_runs_do_each_counted_once() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("portal", seed=seed, size=3600, rates=(0.5,))
        for base in ("small", "tiny"):  # one run, scored on both of its bases
            rows = [
                {**line, "run": f"s{seed}", "method": "source", "label": "source", "base": base}
                for line in builder.rows[-len(TASKS) * 2 :]
            ]
            builder.rows += rows
    study = gather_runs(builder.results_table())
    for run in study.runs:
        run.cost = replace(run.cost, devices=2.0 if run.cell.method == "source" else 0.5)
    table = study_cost_table(study, 4.0)
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.rows}
    assert {name: row["runs"] for name, row in shown.items()} == {"joint source": 2, "PorTAL": 2, "all": 4}
    assert shown["PorTAL"]["training s"] == 2 * 0.3125 * 3600
    assert shown["PorTAL"]["device-hours"] == 2 * 0.3125 * 0.5
    assert shown["all"]["device-hours"] == 2 * 0.3125 * (2.0 + 0.5)
    assert shown["all"]["price at 4 a device-hour"] == 2 * 0.3125 * (2.0 + 0.5) * 4.0
