"""Tables print the numbers of a comparison, and a dash with a reason below where there is none."""

from analysis.stats.aggregate import compare, summarise_sources
from analysis.stats.findings import find_target
from analysis.stats.result_table import ALL_MODULES
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
from analysis.tables.table import DASH, Table
from portal.results import AbsentRun
from tests.support.result_tables import (
    TASKS,
    StudyBuilder,
    known,
    published_rows,
    shown,
    study_of,
    study_of_kinds,
    target_of,
)


def study_with(*runs: tuple[str, int, int, float], base: float | None = None) -> StudyBuilder:
    """Runs (method, seed, size, rate) and, where it has a rate, the frozen base; without predictions."""
    builder = StudyBuilder(with_predictions=False)
    if base is not None:
        builder.add("base", rates=(base,))
    for method, seed, size, rate in runs:
        builder.add(method, seed=seed, size=size, rates=(rate,))
    return builder


def absent_lora(size: int, seed: int, cause: str | None = None) -> AbsentRun:
    return AbsentRun(
        method="lora", label="lora", base="big", modules="q,v", rank=8, size=size, seed=seed, cause=cause
    )


def by_name(table: Table) -> dict[str, dict[str, str]]:
    """The lines as a reader sees them, by their first column."""
    return {line[table.names[0]]: line for line in shown(table)}


def test_published_numbers_print_as_published_and_stand_below_a_studys_own() -> None:
    main = by_name(main_table(target_of(published_rows(), "qwen3-8b")))
    bases = {"qwen3-4b": "6.1", "qwen3-8b": "6.2", "gemma-3-4b": "6.3"}
    lines = by_name(overview_table([compare(study_of(published_rows()), base) for base in bases]))

    assert list(main) == ["frozen base", "Cross-LoRA", "LoRA hypernet", "PorTAL", "per-task LoRA"]
    assert (main["PorTAL"]["acc_norm"], main["frozen base"]["acc_norm"]) == ("0.792 ± 0.004", "0.667")
    lift = "recovered lift"
    assert (main["PorTAL"][lift], main["Cross-LoRA"][lift]) == ("97.7 %", "14.1 %")
    assert main["PorTAL"]["retention"] == "99.6 %"
    for base, column, number in (
        ("qwen3-4b", "LoRA hypernet: lift", "94.2 %"),
        ("qwen3-8b", "Cross-LoRA: lift", "14.1 %"),
        ("qwen3-8b", "LoRA hypernet: lift", "92.2 %"),
        ("qwen3-8b", "PorTAL: lift", "97.7 %"),
        ("gemma-3-4b", "PorTAL: lift", "94.0 %"),
        ("qwen3-8b", "Cross-LoRA: retention", "86.2 %"),
        ("qwen3-8b", "PorTAL: retention", "99.6 %"),
    ):
        assert lines[base][column] == number
    for base, section in bases.items():
        own, published = lines.pop(base), lines.pop(f"{base}, published (the paper's table {section})")
        assert {**own, "base": ""} == {**published, "base": ""}
    assert lines == {}


def test_numbers_of_a_card_are_said_not_to_be_the_papers_and_another_base_has_none() -> None:
    builder = StudyBuilder(with_predictions=False)
    for base in ("big", "mistral-7b"):
        builder.add("base", base=base)
    big, mistral = (overview_table([compare(builder.study(), base)]) for base in ("big", "mistral-7b"))
    own, published = shown(mistral)

    assert [row[0] for row in big.rows] == ["big"]
    assert own["PorTAL"] == "—"
    assert published["base"] == "mistral-7b, published (portallib's card)"
    assert published["PorTAL"] == "0.791"
    (note,) = [note for note in mistral.reasons if "card" in note]
    assert "whose epoch was chosen on the rows that are reported" in note


def test_planned_runs_without_results_are_lines_of_dashes_with_their_causes() -> None:
    builder = study_with(("portal", 0, 8, 0.6), base=0.6)
    plain = AbsentRun(method="portal", base="big", size=64, seed=1, cause="loss is nan")
    variant = AbsentRun(
        method="portal", label="portal-all", base="big", modules=ALL_MODULES, rank=8,
        sources=("small", "tiny"), size=8, seed=0, cause="out of memory",
    )  # fmt: skip

    bare = main_table(target_of([line for line in builder.rows if line["method"] == "base"], "big", plain))
    table = main_table(target_of(builder.rows, "big", variant))

    assert ("PorTAL", None, 64, *[None] * 7) in bare.rows
    assert "PorTAL on big, size 64, seed 1: loss is nan" in bare.reasons
    assert any(reason.startswith("per-task LoRA on big: no finished run") for reason in bare.reasons)
    assert ("PorTAL (portal-all)", "all r8", 8, *[None] * 7) in table.rows
    assert "PorTAL (portal-all) on big, size 8, seed 0: out of memory" in table.reasons


def test_seeds_that_failed_are_counted_though_every_method_lacks_them() -> None:
    builder = study_with(*(("lora", seed, 8, 0.6) for seed in range(2)))
    table = main_table(target_of(builder.rows, "big", absent_lora(size=8, seed=2, cause="loss is nan")))

    assert by_name(table)["per-task LoRA"]["seeds"] == "2 of 3"
    assert "per-task LoRA q,v r8: 2 of 3 seeds" in table.reasons


def test_every_task_has_a_line_with_chance_and_majority_and_the_mean_comes_last() -> None:
    table = per_task_table(target_of(study_with(base=0.6).rows))

    assert [row[0] for row in table.rows] == [*TASKS, "task mean"]
    assert [row[1] for row in table.texts] == ["0.250"] * 4
    assert [row[2] for row in table.rows] == [None, None, 0.525, None]


def test_a_lift_against_a_lora_with_other_data_says_so_and_names_the_missing_size() -> None:
    builder = study_with(("lora", 0, 32, 0.7), ("portal", 0, 128, 0.6), base=0.3)
    reasons = main_table(target_of(builder.rows, "big", absent_lora(size=128, seed=0))).reasons

    lift = "recovered lift of PorTAL q,v r8: with 128 rows per task, against the per-task LoRA's with 32"
    assert lift in reasons
    assert "per-task LoRA q,v r8 with 128 rows per task: no finished run" in reasons


def test_nothing_is_called_chosen_where_one_epoch_was_scored() -> None:
    builder = study_with(("lora", 0, 8, 0.7))
    assert main_table(target_of(builder.rows)).title == "big: the only epoch scored"
    builder.add("portal", seed=0, size=8, rates=(0.6, 0.7))
    assert main_table(target_of(builder.rows)).title == "big: best epoch on validation rows"
    published = main_table(target_of(published_rows(), "qwen3-8b"))
    assert published.title == "qwen3-8b (the paper's table 6.2): the only epoch scored"


def test_an_interval_of_other_seeds_than_the_lift_is_not_shown() -> None:
    builder = StudyBuilder()
    builder.add("base", rates=(0.3,))
    for seed in range(3):
        builder.add("lora", seed=seed, size=8, rates=(0.8,))
    for seed in range(2):
        builder.add("portal", seed=seed, size=8, rates=(0.7,))
    predictions = builder.predictions_table()
    table = main_table(find_target(builder.study(), "big", slug="big", predictions=predictions))

    assert by_name(table)["PorTAL"]["recovered lift"] != DASH
    assert by_name(table)["PorTAL"]["lift: 95 %"] == DASH
    reason = "interval of the lift of PorTAL q,v r8: its seeds are not those of the per-task LoRA"
    assert reason in table.reasons


def test_a_lift_of_other_tasks_is_undefined_in_every_table_with_the_reason() -> None:
    of_base = "gemma-3-4b base None"
    rows = [line for line in published_rows() if line["run"] != of_base or line["task"] == "easy"]
    target = target_of(rows, "gemma-3-4b")

    for table in (main_table(target), overview_table([target.comparison]), rules_table(target)):
        assert "scored on other tasks than frozen base" in "\n".join(table.reasons), table.title
        port = next(row for row in table.texts if "PorTAL" in row[0] or table.slug == "overview")
        assert "94.0 %" not in port


def test_every_kind_has_a_line_with_its_tasks_and_the_mean_comes_last() -> None:
    builder, kinds = study_of_kinds(3, 4)
    target = target_of(builder.rows, kinds=kinds)
    table, by_task = known(kinds_table(target)), per_task_table(target)

    assert [row[:2] for row in table.rows] == [("kind00", 4), ("kind01", 4), ("kind02", 4), ("task mean", 12)]
    assert table.names[:4] == ("kind", "tasks", "chance", "frozen base")
    assert table.names[4:] == ("PorTAL q,v r8", "per-task LoRA q,v r8", "PorTAL q,v r8: lift")
    assert table.footer == 1
    assert {row[0]: row[1] for row in by_task.rows[:-1]} == kinds
    assert by_task.rows[-1][:2] == ("task mean", None)
    # A terminal is shown what the lift is made of.
    builder.add("hypernet", seed=0, size=8)
    short = known(short_kinds_table(target_of(builder.rows, kinds=kinds)))
    assert short.names[3:-1] == ("frozen base", "PorTAL q,v r8", "per-task LoRA q,v r8")


def test_there_is_no_table_by_kind_where_no_two_tasks_share_one() -> None:
    for kinds in ({}, {"capital": "fact", "pronoun": "syntax"}):
        target = target_of(study_with(base=0.6).rows, kinds=kinds)
        assert kinds_table(target) is short_kinds_table(target) is None
        assert "kind" not in per_task_table(target).names


def test_kinds_and_tasks_without_a_lift_are_named_once_per_reason_and_many_are_counted() -> None:
    builder = StudyBuilder(tasks=tuple(f"t{number}" for number in range(30)), with_predictions=False)
    builder.add("base", rates=(0.8,))
    builder.add("lora", seed=0, size=8, rates=(0.3,))
    builder.add("portal", seed=0, size=8, rates=(0.7,))
    kinds = {task: "ab"[int(task[1:]) % 2] for task in builder.tasks}
    target = target_of(builder.rows, kinds=kinds)

    reason = "the per-task LoRA does not rise above the base"
    assert known(kinds_table(target)).reasons == (f"recovered lift of a, b: {reason}",)
    assert per_task_table(target).reasons == (f"recovered lift of 30 tasks: {reason}",)


def test_ranks_and_modules_of_one_method_are_compared_in_a_table() -> None:
    builder = study_with(("lora", 0, 8, 0.8), base=0.3)
    assert variants_table(target_of(builder.rows)) is None
    builder.rows += [
        {**line, "rank": rank, "method": "portal", "label": f"r{rank}", "run": f"r{rank}"}
        for rank in (4, 8)
        for line in builder.rows
        if line["method"] == "lora"
    ]

    table = known(variants_table(target_of(builder.rows)))

    assert [row[:3] for row in table.rows] == [("PorTAL (r4)", "q,v", 4), ("PorTAL (r8)", "q,v", 8)]


def test_spreads_of_every_trained_method_have_a_row_and_sources_come_last() -> None:
    builder = study_with(("lora", 0, 8, 0.6), base=0.3)
    study = builder.study()
    assert seed_spread_table([compare(study, "big")], (), study.score_name) is None  # one seed has none
    builder.add("lora", seed=1, size=8, rates=(0.6,))
    for seed in (0, 1):
        builder.add("source", base="small", seed=seed, size=8, rates=(0.8,))
    study = builder.study()

    rows = shown(seed_spread_table([compare(study, "big")], summarise_sources(study), study.score_name))

    assert [(row["base"], row["seeds"], row["tasks"]) for row in rows] == [
        ("big", "2", "3"),
        ("small", "2", "3"),
    ]
    assert all(" to " in row["pooled std: 95 %"] and row["of task"] in builder.tasks for row in rows)
