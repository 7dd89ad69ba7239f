"""Tables print the numbers of a comparison, and a dash with a reason below where there is none."""

from analysis.stats.aggregate import compare, summarise_sources
from analysis.stats.findings import find_target
from analysis.stats.result_table import ALL_MODULES, gather_runs
from analysis.tables.accuracy import (
    kinds_table,
    main_table,
    overview_table,
    per_task_table,
    rules_table,
    seed_spread_table,
    short_kinds_table,
    variants_table,
)
from analysis.tables.table import DASH
from portal.results import AbsentRun
from tests.support.result_tables import (
    TASKS,
    StudyBuilder,
    published_rows,
    study_of_kinds,
    target_of,
    to_table,
)


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


def test_a_lift_of_other_tasks_is_undefined_in_every_table_with_the_reason() -> None:
    rows = [
        line for line in published_rows() if line["run"] != "gemma-3-4b base None" or line["task"] == "easy"
    ]
    target = target_of(rows, "gemma-3-4b")
    for table in (main_table(target), overview_table([target.comparison]), rules_table(target)):
        assert any("scored on other tasks than frozen base" in reason for reason in table.reasons), (
            table.title
        )
        port = next(row for row in table.texts if "PorTAL" in row[0] or table.slug == "overview")
        assert "94.0 %" not in port


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
        own, published = shown.pop(base), shown.pop(f"{base}, published (the paper's table {section})")
        assert {**own, "base": ""} == {**published, "base": ""}
    assert shown == {}


def test_a_base_that_the_paper_does_not_have_has_no_published_line() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    table = overview_table([compare(gather_runs(builder.results_table()), "big")])
    assert [row[0] for row in table.rows] == ["big"]


def test_numbers_of_a_card_stand_below_a_studys_own_with_what_they_are_not() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", base="mistral-7b")

    table = overview_table([compare(gather_runs(builder.results_table()), "mistral-7b")])

    own, published = [dict(zip(table.names, row, strict=True)) for row in table.texts]
    assert own["PorTAL"] == "—"
    assert published["base"] == "mistral-7b, published (portallib's card)"
    assert published["PorTAL"] == "0.791"
    (note,) = [note for note in table.reasons if "card" in note]
    assert "whose epoch was chosen on the rows that are reported" in note


def test_every_kind_has_a_line_with_its_tasks_and_the_mean_comes_last() -> None:
    builder, kinds = study_of_kinds(3, 4)
    table = kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert [row[:2] for row in table.rows] == [("kind00", 4), ("kind01", 4), ("kind02", 4), ("task mean", 12)]
    assert table.names[:4] == ("kind", "tasks", "chance", "frozen base")
    assert table.names[4:] == ("PorTAL q,v r8", "per-task LoRA q,v r8", "PorTAL q,v r8: lift")
    assert table.footer == 1


def test_there_is_no_table_by_kind_where_no_two_tasks_share_one() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base")
    for kinds in ({}, {"capital": "fact", "pronoun": "syntax"}):
        assert kinds_table(target_of(builder.rows, kinds=kinds)) is None
        assert short_kinds_table(target_of(builder.rows, kinds=kinds)) is None
        assert "kind" not in per_task_table(target_of(builder.rows, kinds=kinds)).names


def test_the_table_by_task_names_the_kind_of_each() -> None:
    builder, kinds = study_of_kinds(2, 2)
    table = per_task_table(target_of(builder.rows, kinds=kinds))
    assert {row[0]: row[1] for row in table.rows[:-1]} == kinds
    assert table.rows[-1][:2] == ("task mean", None)


def test_a_terminal_is_shown_what_the_lift_is_made_of() -> None:
    builder, kinds = study_of_kinds(2, 2)
    builder.add("hypernet", seed=0, size=8)
    table = short_kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert table.names[3:-1] == ("frozen base", "PorTAL q,v r8", "per-task LoRA q,v r8")


def test_kinds_without_a_lift_are_named_once_per_reason() -> None:
    builder = StudyBuilder(tasks=("a1", "a2", "b1", "b2"), with_predictions=False)
    builder.add("base", rates=(0.8,))
    builder.add("lora", seed=0, size=8, rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.7,))
    kinds = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    table = kinds_table(target_of(builder.rows, kinds=kinds))
    assert table is not None
    assert table.reasons == ("recovered lift of a, b: the per-task LoRA does not rise above the base",)


def test_missing_lifts_of_many_tasks_are_counted() -> None:
    builder = StudyBuilder(tasks=tuple(f"t{number}" for number in range(30)), with_predictions=False)
    builder.add("base", rates=(0.8,))
    builder.add("lora", seed=0, size=8, rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.7,))
    table = per_task_table(target_of(builder.rows))
    assert table.reasons == ("recovered lift of 30 tasks: the per-task LoRA does not rise above the base",)


def test_ranks_and_modules_of_one_method_are_compared_in_a_table() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    builder.add("lora", seed=0, size=8, rates=(0.8,))
    assert variants_table(target_of(builder.rows)) is None
    for rank in (4, 8):
        builder.rows += [
            {**line, "rank": rank, "method": "portal", "label": f"r{rank}", "run": f"r{rank}"}
            for line in builder.rows
            if line["method"] == "lora"
        ]
    table = variants_table(target_of(builder.rows))
    assert table is not None
    assert [row[:3] for row in table.rows] == [("PorTAL (r4)", "q,v", 4), ("PorTAL (r8)", "q,v", 8)]


def test_every_trained_method_has_a_row_and_sources_come_last() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("base", rates=(0.3,))
    for seed in (0, 1):
        builder.add("lora", seed=seed, size=8, rates=(0.6,))
        builder.add("source", base="small", seed=seed, size=8, rates=(0.8,))
    study = gather_runs(builder.results_table())

    table = seed_spread_table([compare(study, "big")], summarise_sources(study), study.score_name)

    assert table is not None
    rows = [dict(zip(table.names, texts, strict=True)) for texts in table.texts]
    assert [(row["base"], row["seeds"], row["tasks"]) for row in rows] == [
        ("big", "2", "3"),
        ("small", "2", "3"),
    ]
    assert all(" to " in row["pooled std: 95 %"] and row["of task"] in builder.tasks for row in rows)


def test_without_two_seeds_there_is_none() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("lora", seed=0, size=8, rates=(0.6,))
    study = gather_runs(builder.results_table())

    assert seed_spread_table([compare(study, "big")], (), study.score_name) is None
