"""Tables print the numbers of the comparison, and a dash with a reason where there is none."""

from dataclasses import replace

from analysis.stats.aggregate import Quantity, Spread, compare
from analysis.stats.bootstrap import bootstrap_accuracy, choose_runs
from analysis.stats.result_table import ALL_MODULES, gather_runs
from analysis.stats.study_info import StudyInfo
from analysis.tables.accuracy import main_table, overview_table, per_task_table, rules_table, variants_table
from analysis.tables.columns import COUNT, DASH, PERCENT, SPREAD, WORD, Column, format_amount
from analysis.tables.costs import run_cost_table, study_cost_table
from analysis.tables.table import Table
from tests.support.result_tables import TASKS, StudyBuilder, published_rows, to_table

NOTHING = StudyInfo.from_dict({})


def test_the_published_table_prints_as_published() -> None:
    table = main_table(compare(gather_runs(to_table(published_rows())), "qwen3-8b"), NOTHING, None, "big")
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    assert shown["PorTAL"]["acc_norm"] == "0.792 ± 0.004"
    assert shown["PorTAL"]["recovered lift"] == "97.7 %"
    assert shown["PorTAL"]["retention"] == "99.6 %"
    assert shown["Cross-LoRA"]["recovered lift"] == "14.1 %"
    assert shown["frozen base"]["acc_norm"] == "0.667"
    assert list(shown) == ["frozen base", "Cross-LoRA", "LoRA hypernet", "PorTAL", "per-task LoRA"]


def test_a_planned_run_without_results_is_a_line_of_dashes_with_its_cause() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    info = {"failed": [{"method": "portal", "base": "big", "size": 64, "seed": 1, "cause": "loss is nan"}]}
    table = main_table(
        compare(gather_runs(builder.results_table()), "big"), StudyInfo.from_dict(info), None, "big"
    )
    assert ("PorTAL", None, 64, *[None] * 7) in table.rows
    assert "PorTAL on big, size 64, seed 1: loss is nan" in table.reasons
    assert any(reason.startswith("per-task LoRA on big: no finished run") for reason in table.reasons)


def test_seeds_that_failed_are_counted_though_every_method_lacks_them() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("lora", seed=seed, size=8)
    lora = {"method": "lora", "label": "lora", "base": "big", "modules": "q,v", "rank": 8, "size": 8}
    info = StudyInfo.from_dict({"failed": [{**lora, "seed": 2, "cause": "loss is nan"}]})
    table = main_table(compare(gather_runs(builder.results_table()), "big"), info, None, "big")
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    assert shown["per-task LoRA"]["seeds"] == "2 of 3"
    assert "per-task LoRA q,v r8: 2 of 3 seeds" in table.reasons


def test_a_variant_without_results_is_a_line_beside_the_variants_that_have_some() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    builder.add("lora", seed=0, size=8)
    builder.add("portal", seed=0, size=8)
    absent = {
        "method": "portal", "label": "portal-all", "base": "big", "modules": ALL_MODULES, "rank": 8,
        "sources": ["small", "tiny"], "size": 8, "seed": 0, "cause": "out of memory",
    }  # fmt: skip
    info = StudyInfo.from_dict({"failed": [absent]})
    table = main_table(compare(gather_runs(builder.results_table()), "big"), info, None, "big")
    assert ("PorTAL (portal-all)", "all r8", 8, *[None] * 7) in table.rows
    assert "PorTAL (portal-all) on big, size 8, seed 0: out of memory" in table.reasons


def test_every_task_has_a_line_with_chance_and_majority_and_the_mean_comes_last() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = per_task_table(compare(gather_runs(builder.results_table()), "big"), "big")
    assert [row[0] for row in table.rows] == [*TASKS, "task mean"]
    assert [row[1] for row in table.texts] == ["0.250"] * 4
    assert [row[2] for row in table.rows] == [None, None, 0.525, None]


def test_the_published_numbers_print_as_published_for_every_base_and_stand_below_a_studys_own() -> None:
    study = gather_runs(to_table(published_rows()))
    table = overview_table([compare(study, base) for base in ("qwen3-4b", "qwen3-8b", "gemma-3-4b")])
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    for base, method, lift in (
        ("qwen3-4b", "LoRA hypernet", "94.2 %"),
        ("qwen3-8b", "Cross-LoRA", "14.1 %"),
        ("qwen3-8b", "LoRA hypernet", "92.2 %"),
        ("qwen3-8b", "PorTAL", "97.7 %"),
        ("gemma-3-4b", "PorTAL", "94.0 %"),
    ):
        assert shown[base][f"{method}: lift"] == lift
    assert shown["qwen3-8b"]["Cross-LoRA: retention"] == "86.2 %"
    assert shown["qwen3-8b"]["PorTAL: retention"] == "99.6 %"
    for base, section in (("qwen3-4b", "6.1"), ("qwen3-8b", "6.2"), ("gemma-3-4b", "6.3")):
        own, published = shown.pop(base), shown.pop(f"{base}, published (table {section})")
        assert {**own, "base": ""} == {**published, "base": ""}
    assert shown == {}


def test_a_base_that_the_paper_does_not_have_has_no_published_line() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = overview_table([compare(gather_runs(builder.results_table()), "big")])
    assert [row[0] for row in table.rows] == ["big"]


def test_ranks_and_modules_of_one_method_are_compared_in_a_table() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.8,))
    assert variants_table(compare(gather_runs(builder.results_table()), "big"), None, "big") is None
    for rank in (4, 8):
        builder.rows += [
            {**line, "rank": rank, "method": "portal", "label": f"r{rank}", "run": f"r{rank}"}
            for line in builder.rows
            if line["method"] == "lora"
        ]
    table = variants_table(compare(gather_runs(builder.results_table()), "big"), None, "big")
    assert table is not None
    assert [row[:3] for row in table.rows] == [("PorTAL (r4)", "q,v", 4), ("PorTAL (r8)", "q,v", 8)]


def test_costs_are_those_of_the_whole_run() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    table = run_cost_table([compare(gather_runs(builder.results_table()), "big")], None)
    assert table.texts == (("big", "PorTAL q,v r8", "8", "5,000", "2,000", "2.00e+09", "5.0", "0.00139"),)


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


def test_markdown_latex_and_csv_escape_what_they_must() -> None:
    table = Table("T", "t", (Column("a|b", WORD), Column("n_1", COUNT)), (("x & y~^\\", 5),), ("50 %",))
    assert "| a\\|b | n_1 |" in table.to_markdown()
    assert "x \\& y\\textasciitilde{}\\textasciicircum{}\\textbackslash{} & 5 \\\\" in table.to_latex()
    assert table.to_csv() == "a|b,n_1\nx & y~^\\,5\n"


def test_csv_holds_plain_numbers_in_full_precision_and_empty_fields() -> None:
    columns = (Column("m", WORD), Column("acc", SPREAD), Column("lift", PERCENT))
    rows = (
        ("a", Spread(1 / 3, 0.25, 3), Quantity(0.5)),
        ("b", Spread(0.5, None, 1), Quantity(None, "why")),
        ("c", None, None),
    )
    assert Table("T", "t", columns, rows).to_csv() == (
        "m,acc,acc std,acc n,lift\na,0.3333333333333333,0.25,3,0.5\nb,0.5,,1,\nc,,,,\n"
    )


def test_a_lift_against_a_lora_with_other_data_says_so_and_names_the_missing_size() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=32, rates=(0.7,))
    builder.add("portal", seed=0, size=128, rates=(0.6,))
    lora = {"method": "lora", "label": "lora", "base": "big", "modules": "q,v", "rank": 8, "size": 128}
    info = StudyInfo.from_dict({"missing": [{**lora, "seed": 0}]})
    table = main_table(compare(gather_runs(builder.results_table()), "big"), info, None, "big")
    assert (
        "recovered lift of PorTAL q,v r8: with 128 rows a task, against the per-task LoRA's with 32"
        in table.reasons
    )
    assert "per-task LoRA q,v r8 with 128 rows a task: no finished run" in table.reasons


def test_a_lift_of_other_tasks_is_undefined_in_every_table_with_the_reason() -> None:
    rows = [
        line for line in published_rows() if line["run"] != "gemma-3-4b base None" or line["task"] == "easy"
    ]
    comparison = compare(gather_runs(to_table(rows)), "gemma-3-4b")
    for table in (
        main_table(comparison, NOTHING, None, "b"),
        overview_table([comparison]),
        rules_table({"final": comparison}, "b"),
    ):
        assert any("scored on other tasks than frozen base" in reason for reason in table.reasons), (
            table.title
        )
        port = next(row for row in table.texts if "PorTAL" in row[0] or table.slug == "overview")
        assert "94.0 %" not in port


def test_nothing_is_called_chosen_where_one_epoch_was_scored() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.7,))
    assert main_table(compare(gather_runs(builder.results_table()), "big"), NOTHING, None, "b").title == (
        "big: the only epoch scored"
    )
    builder.add("portal", seed=0, size=8, rates=(0.6, 0.7))
    assert main_table(compare(gather_runs(builder.results_table()), "big"), NOTHING, None, "b").title == (
        "big: best epoch on validation rows"
    )
    published = main_table(compare(gather_runs(to_table(published_rows())), "qwen3-8b"), NOTHING, None, "b")
    assert published.title == "qwen3-8b (the paper's table 6.2): the only epoch scored"


def test_an_interval_of_other_seeds_than_the_lift_is_not_shown() -> None:
    builder = StudyBuilder()
    builder.add("base", rates=(0.3,))
    for seed in range(3):
        builder.add("lora", seed=seed, size=8, rates=(0.8,))
    for seed in range(2):
        builder.add("portal", seed=seed, size=8, rates=(0.7,))
    study = gather_runs(builder.results_table())
    comparison = compare(study, "big")
    chosen = choose_runs(study, [line.cell for line in comparison.main], comparison.rule)
    bootstrap = bootstrap_accuracy(chosen, chosen.answers(builder.predictions_table()), num_draws=100)
    table = main_table(comparison, NOTHING, bootstrap, "big")
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    assert shown["PorTAL"]["recovered lift"] != DASH
    assert shown["PorTAL"]["lift: 95 %"] == DASH
    assert (
        "interval of the lift of PorTAL q,v r8: its seeds are not those of the per-task LoRA" in table.reasons
    )


def test_a_reason_of_several_lines_is_folded_into_one() -> None:
    table = Table("T", "t", (Column("n", COUNT),), ((1,),), ("loss is\nnan",))
    assert "% loss is nan\n" in table.to_latex()
    assert "- loss is nan\n" in table.to_markdown()


def test_amounts_have_three_digits_or_are_whole() -> None:
    assert [format_amount(value) for value in (0.01234, 12.34, 999.4, 999.6, 123456.0, 2e9)] == [
        "0.0123", "12.3", "999", "1,000", "123,456", "2.00e+09",
    ]  # fmt: skip
