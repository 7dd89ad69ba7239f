"""Costs are those of whole runs, each counted once."""

from dataclasses import replace

from analysis.stats.aggregate import compare
from analysis.stats.result_table import gather_runs
from analysis.tables.costs import run_cost_table, study_cost_table
from tests.support.result_tables import TASKS, StudyBuilder


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
