"""Lift, retention and spread: the published numbers as fixtures, and what must not change them."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.aggregate import Comparison, MethodSummary, compare, summarise_sources
from analysis.stats.published import PUBLISHED
from analysis.stats.result_table import MethodKey, gather_runs
from tests.support.result_tables import StudyBuilder, published_rows, row, study_of_ranks, target_of, to_table


def line(comparison: Comparison, method: str) -> MethodSummary:
    found = comparison.representative(method)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("base", "method", "lift_percent"),
    [
        ("qwen3-4b", "hypernet", 94.2),
        ("qwen3-8b", "cross_lora", 14.1),
        ("qwen3-8b", "hypernet", 92.2),
        ("qwen3-8b", "portal", 97.7),
        ("gemma-3-4b", "portal", 94.0),
    ],
)
def test_the_published_scores_give_the_published_lifts(base: str, method: str, lift_percent: float) -> None:
    comparison = compare(gather_runs(to_table(published_rows())), base)
    lift = line(comparison, method).lift.value
    assert lift is not None
    assert round(100 * lift, 1) == lift_percent


@pytest.mark.parametrize(("method", "percent"), [("cross_lora", 86.2), ("portal", 99.6)])
def test_the_published_scores_give_the_published_retention(method: str, percent: float) -> None:
    comparison = compare(gather_runs(to_table(published_rows())), "qwen3-8b")
    kept = line(comparison, method).retention.value
    assert kept is not None
    assert round(100 * kept, 1) == percent


def test_mean_and_sample_std_are_over_seeds_of_the_task_mean() -> None:
    acc = line(compare(gather_runs(to_table(published_rows())), "qwen3-8b"), "portal").acc
    assert acc.known == pytest.approx(0.792)
    assert acc.std == pytest.approx(0.004)
    assert acc.n == 3


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(published_rows()))))
def test_the_order_of_rows_changes_nothing(order: list[int]) -> None:
    rows = published_rows()
    straight = gather_runs(to_table(rows))
    shuffled = gather_runs(to_table([rows[place] for place in order]))
    for base in PUBLISHED:
        assert compare(straight, base) == compare(shuffled, base)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.permutations(("easy", "hard")))
def test_renaming_seeds_and_tasks_changes_no_mean(seeds: list[int], tasks: list[str]) -> None:
    rows = published_rows()
    names = dict(zip(("easy", "hard"), tasks, strict=True))
    renamed = [
        row(
            **{
                **line,
                "task": names[line["task"]],
                "seed": None if line["seed"] is None else seeds[line["seed"]],
            }
        )
        for line in [{key: value for key, value in line.items() if key != "eval_set"} for line in rows]
    ]
    for base in PUBLISHED:
        before, after = (
            compare(gather_runs(to_table(rows)), base),
            compare(gather_runs(to_table(renamed)), base),
        )
        for old, new in zip(before.headline_summaries, after.headline_summaries, strict=True):
            assert math.isclose(old.acc.known, new.acc.known, rel_tol=1e-12)
            assert old.acc.std == pytest.approx(new.acc.std)
            assert old.lift.value == pytest.approx(new.lift.value)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(
        [
            f"{base} {method} {seed}"
            for base, published in PUBLISHED.items()
            for method in ("hypernet", "portal")
            if method in published.accuracy
            for seed in "012"
        ]
    )
)
def test_adding_a_missing_run_changes_only_its_own_line(key: str) -> None:
    rows = published_rows()
    without = gather_runs(to_table([line for line in rows if line["run"] != key]))
    complete = gather_runs(to_table(rows))
    base, method, _ = key.split()
    for other in PUBLISHED:
        before = {s.cell: s for s in compare(without, other).summaries}
        after = {s.cell: s for s in compare(complete, other).summaries}
        changed = {cell for cell in after if cell not in before or before[cell] != after[cell]}
        assert {(cell.base, cell.method) for cell in changed} == (
            {(base, method)} if other == base else set()
        )


def test_lift_is_undefined_when_the_base_was_scored_on_other_tasks() -> None:
    rows = [
        line for line in published_rows() if line["run"] != "gemma-3-4b base None" or line["task"] == "easy"
    ]
    port = line(compare(gather_runs(to_table(rows)), "gemma-3-4b"), "portal")
    assert port.lift.value is None
    assert "other tasks" in (port.lift.reason or "")


def test_unlike_evaluation_sets_are_refused() -> None:
    rows = [row(run="a"), row(run="b", eval_set="f" * 64)]
    with pytest.raises(ValueError, match="another evaluation set"):
        gather_runs(to_table(rows))


def test_of_two_runs_in_one_place_the_one_with_more_epochs_counts() -> None:
    builder = StudyBuilder(with_predictions=False)
    long = builder.add("lora", seed=0, size=8, rates=(0.5, 0.6, 0.7))
    short = builder.add("lora", seed=0, size=8, rates=(0.9,))
    study = gather_runs(builder.results_table())
    assert [run.key for run in study.runs] == [long]
    assert study.duplicates == (short,)


@pytest.mark.parametrize("whole", ["a", "z"])
def test_of_two_runs_with_as_many_epochs_the_one_with_more_test_rows_counts(whole: str) -> None:
    part = "m"
    rows = [
        row(run=run, split=split, epoch=epoch)
        for run in (whole, part)
        for split in ("validation", "test")
        for epoch in (1, 2, 3)
        if (run, split, epoch) != (part, "test", 1)
    ]

    study = gather_runs(to_table(rows))

    assert [run.key for run in study.runs] == [whole]
    assert study.duplicates == (part,)


def test_source_runs_stand_apart_from_the_comparison() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("source", base="small", seed=0, size=8, rates=(0.5, 0.6))
    builder.add("base", base="small", rates=(0.4,))
    study = gather_runs(builder.results_table())
    assert [summary.cell.method for summary in compare(study, "small").summaries] == ["base"]
    assert [summary.cell.base for summary in summarise_sources(study)] == ["small"]


def test_a_method_under_its_plain_name_comes_before_its_variants() -> None:
    names = ["anchor", "lora", "zz"]
    variants = [MethodKey("lora", name, "q,v", 8, None) for name in names]

    assert [variant.name for variant in sorted(variants, key=MethodKey.sort_key)] == ["lora", "anchor", "zz"]


def port_of(rows: list[dict]) -> MethodSummary:
    return line(target_of(rows).comparison, "portal")


def test_the_plain_method_stands_for_its_variants_however_they_score() -> None:
    builder = study_of_ranks({2: 0.4, 16: 0.7}, portal=0.5)

    assert port_of(builder.rows).cell.variant.name == "portal"


def test_of_variants_alone_validation_rows_choose_the_one_that_stands_for_them() -> None:
    builder = study_of_ranks({2: 0.4, 8: 0.7, 16: 0.6})

    assert port_of(builder.rows).cell.variant.name == "r8"


def test_no_test_row_takes_part_in_the_choice_among_variants() -> None:
    builder = study_of_ranks({2: 0.4, 8: 0.7, 16: 0.6})
    best_on_test = [
        {**each, "acc_norm": 0.99} if (each["label"], each["split"]) == ("r2", "test") else each
        for each in builder.rows
    ]

    assert port_of(best_on_test).acc.mean == pytest.approx(0.7, abs=0.1)
    assert port_of(best_on_test).cell.variant.name == "r8"


def test_the_choice_among_variants_reads_the_reported_epoch() -> None:
    builder = study_of_ranks({2: 0.4, 8: 0.7})
    later = [
        {**each, "epoch": 2, "acc_norm": 0.9 if each["split"] == "validation" else each["acc_norm"]}
        for each in builder.rows
        if each["label"] == "r2"
    ]

    assert port_of(builder.rows + later).cell.variant.name == "r2"
    final = target_of(builder.rows + later).rules["final"].representative("portal")
    assert final is not None
    assert final.validation_acc.mean == pytest.approx(0.9)


def test_variants_without_validation_rows_are_stood_for_by_the_first() -> None:
    builder = study_of_ranks({2: 0.4, 8: 0.7})
    rows = [each for each in builder.rows if each["split"] == "test"]

    assert port_of(rows).cell.variant.name == "r2"
    assert port_of(rows).validation_acc.reason == "no validation rows"


def test_the_base_and_the_lora_are_stood_for_by_what_lift_is_measured_with() -> None:
    builder = study_of_ranks({8: 0.7})
    wide = [
        {**each, "run": "wide", "rank": 16, "label": "wide"}
        for each in builder.rows
        if each["method"] == "lora"
    ]
    comparison = target_of(builder.rows + wide).comparison

    assert comparison.representative("lora") is comparison.reference_lora
    assert line(comparison, "lora").cell.variant.rank == 16
    assert comparison.representative("base") is comparison.frozen_base
    assert comparison.representative("hypernet") is None
