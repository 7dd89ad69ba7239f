"""Tables print the numbers of the comparison, and a dash with a reason where there is none."""

from analysis.aggregate import compare
from analysis.runs import gather_runs
from analysis.selection import RULES
from analysis.study_info import StudyInfo
from analysis.table import DASH, Table
from analysis.tables import cost_table, main_table, per_task_table, rules_table
from tests.analysis.conftest import TASKS, StudyBuilder, to_table
from tests.analysis.test_aggregate import published_rows

NOTHING = StudyInfo.from_dict({})


def test_the_published_table_prints_as_published() -> None:
    table = main_table(compare(gather_runs(to_table(published_rows())), "qwen3-8b"), NOTHING, None)
    shown = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
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
    table = main_table(compare(gather_runs(builder.results_table()), "big"), StudyInfo.from_dict(info), None)
    assert ("PorTAL", DASH, "64", *[DASH] * 6) in table.rows
    assert "PorTAL on big, size 64, seed 1: loss is nan" in table.reasons
    assert any(reason.startswith("per-task LoRA on big: no finished run") for reason in table.reasons)


def test_fewer_seeds_than_the_other_methods_are_pointed_out() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(3):
        builder.add("lora", seed=seed, size=8)
    builder.add("portal", seed=0, size=8)
    table = main_table(compare(gather_runs(builder.results_table()), "big"), NOTHING, None)
    assert "PorTAL q,v r8: 1 of 3 seeds" in table.reasons


def test_selection_rules_stand_side_by_side() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.5, 0.7, 0.6))
    study = gather_runs(builder.results_table())
    table = rules_table({rule: compare(study, "big", rule) for rule in RULES})
    lora = next(row for row in table.rows if row[0].startswith("per-task LoRA"))
    assert table.columns[1::2] == ("best on validation", "final", "paper", "symmetric")
    assert lora[1] != lora[3]


def test_every_task_has_a_line_with_chance_and_the_mean_comes_last() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = per_task_table(compare(gather_runs(builder.results_table()), "big"))
    assert [row[0] for row in table.rows] == [*TASKS, "task mean"]
    assert [row[1] for row in table.rows] == ["0.250"] * 4


def test_costs_are_those_of_the_whole_run() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("portal", seed=0, size=8, rates=(0.5, 0.7))
    table = cost_table([compare(gather_runs(builder.results_table()), "big")])
    assert table.rows == (("big", "PorTAL q,v r8", "8", "5,000", "2,000", "2.00e+09", "5.0"),)


def test_markdown_latex_and_csv_escape_what_they_must() -> None:
    table = Table("T", ("a|b", "n"), (("x & y_1", "5 %"),))
    assert "| a\\|b | n |" in table.to_markdown()
    assert "x \\& y\\_1 & 5 \\%" in table.to_latex()
    assert table.to_csv() == "a|b,n\nx & y_1,5 %\n"
