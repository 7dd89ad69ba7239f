"""The table of a base prints the numbers of the comparison, and a dash with a reason where there is none."""

from analysis.stats.findings import find_target
from analysis.stats.result_table import ALL_MODULES, gather_runs
from analysis.tables.accuracy import main_table, per_task_table
from analysis.tables.columns import DASH
from portal.results import AbsentRun
from tests.support.result_tables import TASKS, StudyBuilder, published_rows, target_of


def absent_lora(size: int, seed: int, cause: str | None = None) -> AbsentRun:
    return AbsentRun(
        method="lora", label="lora", base="big", modules="q,v", rank=8, size=size, seed=seed, cause=cause
    )


def test_the_published_table_prints_as_published() -> None:
    table = main_table(target_of(published_rows(), "qwen3-8b"))
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
    absent = AbsentRun(method="portal", base="big", size=64, seed=1, cause="loss is nan")
    table = main_table(target_of(builder.rows, "big", absent))
    assert ("PorTAL", None, 64, *[None] * 7) in table.rows
    assert "PorTAL on big, size 64, seed 1: loss is nan" in table.reasons
    assert any(reason.startswith("per-task LoRA on big: no finished run") for reason in table.reasons)


def test_seeds_that_failed_are_counted_though_every_method_lacks_them() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("lora", seed=seed, size=8)
    table = main_table(target_of(builder.rows, "big", absent_lora(size=8, seed=2, cause="loss is nan")))
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    assert shown["per-task LoRA"]["seeds"] == "2 of 3"
    assert "per-task LoRA q,v r8: 2 of 3 seeds" in table.reasons


def test_a_variant_without_results_is_a_line_beside_the_variants_that_have_some() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    builder.add("lora", seed=0, size=8)
    builder.add("portal", seed=0, size=8)
    absent = AbsentRun(
        method="portal", label="portal-all", base="big", modules=ALL_MODULES, rank=8,
        sources=("small", "tiny"), size=8, seed=0, cause="out of memory",
    )  # fmt: skip
    table = main_table(target_of(builder.rows, "big", absent))
    assert ("PorTAL (portal-all)", "all r8", 8, *[None] * 7) in table.rows
    assert "PorTAL (portal-all) on big, size 8, seed 0: out of memory" in table.reasons


def test_every_task_has_a_line_with_chance_and_majority_and_the_mean_comes_last() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = per_task_table(target_of(builder.rows))
    assert [row[0] for row in table.rows] == [*TASKS, "task mean"]
    assert [row[1] for row in table.texts] == ["0.250"] * 4
    assert [row[2] for row in table.rows] == [None, None, 0.525, None]


def test_a_lift_against_a_lora_with_other_data_says_so_and_names_the_missing_size() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=32, rates=(0.7,))
    builder.add("portal", seed=0, size=128, rates=(0.6,))
    table = main_table(target_of(builder.rows, "big", absent_lora(size=128, seed=0)))
    assert (
        "recovered lift of PorTAL q,v r8: with 128 rows per task, against the per-task LoRA's with 32"
        in table.reasons
    )
    assert "per-task LoRA q,v r8 with 128 rows per task: no finished run" in table.reasons


def test_nothing_is_called_chosen_where_one_epoch_was_scored() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.7,))
    assert main_table(target_of(builder.rows)).title == ("big: the only epoch scored")
    builder.add("portal", seed=0, size=8, rates=(0.6, 0.7))
    assert main_table(target_of(builder.rows)).title == ("big: best epoch on validation rows")
    published = main_table(target_of(published_rows(), "qwen3-8b"))
    assert published.title == "qwen3-8b (the paper's table 6.2): the only epoch scored"


def test_an_interval_of_other_seeds_than_the_lift_is_not_shown() -> None:
    builder = StudyBuilder()
    builder.add("base", rates=(0.3,))
    for seed in range(3):
        builder.add("lora", seed=seed, size=8, rates=(0.8,))
    for seed in range(2):
        builder.add("portal", seed=seed, size=8, rates=(0.7,))
    study, predictions = gather_runs(builder.results_table()), builder.predictions_table()
    table = main_table(find_target(study, "big", slug="big", predictions=predictions))
    shown = {row[0]: dict(zip(table.names, row, strict=True)) for row in table.texts}
    assert shown["PorTAL"]["recovered lift"] != DASH
    assert shown["PorTAL"]["lift: 95 %"] == DASH
    assert (
        "interval of the lift of PorTAL q,v r8: its seeds are not those of the per-task LoRA" in table.reasons
    )
