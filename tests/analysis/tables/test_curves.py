"""Tables of curves, log-losses, leads and costs, where each run is counted once."""

from dataclasses import replace

from analysis.stats.aggregate import compare
from analysis.tables.curves import leads_table, log_loss_table, run_cost_table, study_cost_table
from tests.support.few_rows import few_rows_study, target_of_study
from tests.support.result_tables import TASKS, StudyBuilder, shown, target_of


def test_every_method_and_size_has_a_row_with_a_verdict_against_the_lora_and_every_other_method() -> None:
    target = target_of_study(few_rows_study(port=0.7, shared=0.3, mean=0.25))
    losses, leads = shown(log_loss_table(target)), shown(leads_table(target))

    def verdicts(name: str) -> set[str]:
        return {each["verdict"] for each in losses if each["method"].startswith(name)}

    assert len(losses) == 4 * 3
    assert (verdicts("PorTAL"), verdicts("per-task")) == ({"below the LoRA's"}, {"\u2014"})
    assert all(" to " in each["log-loss: 95 %"] for each in losses)
    assert [row["size"] for row in leads if row["against"].startswith("per-task LoRA")] == ["1", "4", "16"]
    assert {row["verdict"] for row in leads if row["against"].startswith("port with the mean")} == {"ahead"}
    assert all(row["difference: 95 %"].count(" to ") == 1 for row in leads)


def test_a_method_that_is_better_is_named_so() -> None:
    leads = shown(leads_table(target_of_study(few_rows_study(port=0.1, shared=0.9, num_examples=30))))

    assert {row["verdict"] for row in leads if row["against"].startswith("one LoRA")} == {"behind"}


def test_without_a_trained_method_or_predictions_there_are_no_tables() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    assert log_loss_table(target_of(builder.rows)) is None
    builder.add("portal", seed=0, size=2, rates=(0.6,))
    assert leads_table(target_of(builder.rows)) is None


def test_costs_are_those_of_the_whole_run_with_validation_rows_that_chose_the_reported_epoch() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    table = run_cost_table([compare(builder.study(), "big")], None)
    assert table.texts == (
        ("big", "PorTAL q,v r8", "8", "\u2014", "5,000", "2,000", "2.00e+09", "5.0", "0.00139"),
    )

    builder.rows = [{**line, "train_rows": 8, "keeps_best": False} for line in builder.rows]
    for rule, rows in (("best_on_validation", 3 * (8 + 120)), ("final", 3 * 8)):
        table = run_cost_table([compare(builder.study(), "big", rule)], None)
        assert table.rows[0][3] == rows


def test_the_study_costs_what_its_runs_do_each_counted_once() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("portal", seed=seed, size=3600, rates=(0.5,))
        for base in ("small", "tiny"):  # one run, scored on both of its bases
            builder.rows += [
                {**line, "run": f"s{seed}", "method": "source", "label": "source", "base": base}
                for line in builder.rows[-len(TASKS) * 2 :]
            ]
    study = builder.study()
    for run in study.runs:
        run.cost = replace(run.cost, devices=2.0 if run.cell.method == "source" else 0.5)
    table = study_cost_table(study, 4.0)
    lines = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.rows}

    assert {name: row["runs"] for name, row in lines.items()} == {"joint source": 2, "PorTAL": 2, "all": 4}
    assert lines["PorTAL"]["training s"] == 2 * 0.3125 * 3600
    assert lines["PorTAL"]["device-hours"] == 2 * 0.3125 * 0.5
    assert lines["all"]["device-hours"] == 2 * 0.3125 * (2.0 + 0.5)
    assert lines["all"]["price at 4 a device-hour"] == 2 * 0.3125 * (2.0 + 0.5) * 4.0
