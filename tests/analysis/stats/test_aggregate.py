"""Spreads, lift, epochs, rows used and kinds: the published numbers as fixtures, and what changes nothing."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.aggregate import (
    RULES,
    Comparison,
    MethodSummary,
    SelectionError,
    Spread,
    accuracy_on,
    compare,
    lift_on,
    mean_chance,
    recovered_lift,
    retention,
    rows_used,
    select_epochs,
    spread,
    summarise_sources,
)
from analysis.stats.published import CARDS, PUBLISHED, published_for
from analysis.stats.result_table import MethodKey, Run, gather_runs
from tests.support.result_tables import (
    StudyBuilder,
    published_rows,
    row,
    study_of_kinds,
    study_of_ranks,
    target_of,
    to_table,
)


def test_one_seed_has_no_std() -> None:
    assert spread([0.5]).std is None


def test_without_a_value_there_is_a_reason_instead_of_a_mean() -> None:
    assert spread([], reason="no finished run") == Spread(None, None, 0, "no finished run")


def test_the_order_of_the_seeds_changes_nothing() -> None:
    values = [0.1, 0.7, 0.3]

    assert spread(values).mean == spread(values[::-1]).mean
    assert spread(values).std == spread(values[::-1]).std


def test_lift_is_undefined_with_a_reason_when_the_lora_does_not_rise() -> None:
    lift = recovered_lift(0.7, 0.6, 0.6)
    assert lift.value is None
    assert "does not rise" in (lift.reason or "")


@pytest.mark.parametrize(("accuracy", "base", "lora"), [(None, 0.5, 0.6), (0.5, None, 0.6), (0.5, 0.4, None)])
def test_lift_is_undefined_with_a_reason_when_a_number_is_missing(
    accuracy: float | None, base: float | None, lora: float | None
) -> None:
    lift = recovered_lift(accuracy, base, lora)
    assert lift.value is None
    assert lift.reason


def test_retention_is_undefined_without_a_lora() -> None:
    assert retention(0.5, None).value is None


def run_of(method: str, scores: dict[tuple[str, int, str], tuple[float, float]]) -> Run:
    """A run from (split, epoch, task) -> (acc_norm, log_loss)."""
    rows = [
        row(method=method, split=split, epoch=epoch, task=task, acc_norm=acc, log_loss=loss, seed=0, size=8)
        for (split, epoch, task), (acc, loss) in scores.items()
    ]
    return gather_runs(to_table(rows)).runs[0]


SCORES = {
    # Validation: task a is best at epoch 1, b at 2, their mean at 2. Test: a at 2, b at 3, mean at 3.
    ("validation", 0, "a"): (0.99, 0.1), ("validation", 0, "b"): (0.99, 0.1),
    ("validation", 1, "a"): (0.70, 1.0), ("validation", 1, "b"): (0.40, 1.0),
    ("validation", 2, "a"): (0.60, 1.0), ("validation", 2, "b"): (0.80, 1.0),
    ("validation", 3, "a"): (0.50, 1.0), ("validation", 3, "b"): (0.60, 1.0),
    ("test", 0, "a"): (0.99, 0.1), ("test", 0, "b"): (0.99, 0.1),
    ("test", 1, "a"): (0.50, 1.0), ("test", 1, "b"): (0.50, 1.0),
    ("test", 2, "a"): (0.70, 1.0), ("test", 2, "b"): (0.50, 1.0),
    ("test", 3, "a"): (0.65, 1.0), ("test", 3, "b"): (0.90, 1.0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "rule", "expected"),
    [
        ("portal", "best_on_validation", {"a": 2, "b": 2}),
        ("lora", "best_on_validation", {"a": 1, "b": 2}),
        ("portal", "paper", {"a": 3, "b": 3}),
        ("lora", "paper", {"a": 2, "b": 3}),
        ("portal", "final", {"a": 3, "b": 3}),
        ("portal", "kept", {"a": 3, "b": 3}),  # the table does not say which: the last
    ],
)
def test_each_rule_chooses_at_its_own_granularity(method: str, rule: str, expected: dict[str, int]) -> None:
    assert select_epochs(run_of(method, SCORES), rule) == expected


def test_ties_go_to_the_lower_log_loss_and_then_to_the_earlier_epoch() -> None:
    scores = {
        (split, epoch, "a"): (0.5, loss)
        for split in ("validation", "test")
        for epoch, loss in ((1, 2.0), (2, 1.0), (3, 1.0))
    }
    assert select_epochs(run_of("portal", scores), "best_on_validation") == {"a": 2}


@pytest.mark.parametrize(
    ("method", "kept", "final"), [("portal", {"a": 2, "b": 2}, 3), ("lora", {"a": 1, "b": 2}, 3)]
)
def test_where_test_rows_are_of_the_kept_and_the_last_evaluation_only_other_choices_are_refused(
    method: str, kept: dict[str, int], final: int
) -> None:
    scores = {
        (split, epoch, task): score
        for (split, epoch, task), score in SCORES.items()
        if split == "validation" or epoch in (kept[task], final)
    }
    run = run_of(method, scores)
    run.kept.update(kept)

    assert select_epochs(run, "best_on_validation") == kept
    assert select_epochs(run, "final") == {"a": final, "b": final}
    with pytest.raises(SelectionError, match="test rows are scored at the kept and the last evaluation"):
        select_epochs(run, "paper")


def test_a_run_scored_once_needs_no_validation_rows() -> None:
    assert select_epochs(run_of("lora", {("test", 5, "a"): (0.5, 1.0)}), "best_on_validation") == {"a": 5}


def test_the_frozen_base_is_reported_at_epoch_0_under_every_rule() -> None:
    run = run_of("base", {("test", 0, "a"): (0.5, 1.0)})
    assert {rule: select_epochs(run, rule) for rule in RULES} == {rule: {"a": 0} for rule in RULES}


def test_several_epochs_without_validation_rows_are_not_chosen_from() -> None:
    run = run_of("portal", {("test", epoch, "a"): (0.5, 1.0) for epoch in (1, 2)})
    with pytest.raises(SelectionError, match="no validation rows"):
        select_epochs(run, "best_on_validation")


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match="'best'"):
        select_epochs(run_of("base", {("test", 0, "a"): (0.5, 1.0)}), "best")


def trained_run(*, epochs: int = 1, keeps_best: bool | None = False, trained: dict[str, int | None]) -> Run:
    (run,) = gather_runs(
        to_table(
            [
                row(run="r", method="portal", seed=0, size=8, task=task, epoch=epoch, split=split,
                    num_examples=16 if split == "validation" else 50, train_rows=count, keeps_best=keeps_best)
                for task, count in trained.items()
                for epoch in range(1, epochs + 1)
                for split in ("validation", "test")
            ]
        )
    ).runs  # fmt: skip
    return run


@pytest.mark.parametrize(
    ("epochs", "keeps_best", "rule", "expected"),
    [
        (1, False, "best_on_validation", 8 + 3),  # nothing to choose
        (2, False, "kept", 8 + 3),
        (2, False, "final", 8 + 3),
        (2, False, "best_on_validation", 8 + 3 + 2 * 16),
        (2, False, "paper", 8 + 3 + 2 * 50),
        (2, True, "kept", 8 + 3 + 2 * 16),
        (2, True, "final", 8 + 3 + 2 * 16),
    ],
)
def test_rows_that_chose_the_epoch_count_beside_those_that_were_trained_on(
    epochs: int, keeps_best: bool, rule: str, expected: int
) -> None:
    run = trained_run(epochs=epochs, keeps_best=keeps_best, trained={"a": 8, "b": 3, "c": 0})

    assert rows_used(run, rule) == expected


def test_tables_that_do_not_say_leave_it_open() -> None:
    assert rows_used(trained_run(trained={"a": None}), "kept") is None
    assert rows_used(trained_run(keeps_best=None, trained={"a": 8}), "kept") is None


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


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    builder, kinds = study_of_kinds(3, 4)
    return compare(replace(gather_runs(builder.results_table()), kinds=kinds), "big")


def summary_of(comparison: Comparison, method: str) -> MethodSummary:
    summary = comparison.representative(method)
    assert summary is not None
    return summary


def test_the_tasks_of_a_comparison_are_grouped_by_kind(comparison: Comparison) -> None:
    assert list(comparison.kinds) == ["kind00", "kind01", "kind02"]
    assert comparison.kinds["kind01"] == ("kind01_0", "kind01_1", "kind01_2", "kind01_3")


@pytest.mark.parametrize("method", ["base", "lora", "portal"])
def test_the_mean_over_all_tasks_is_the_methods_accuracy(comparison: Comparison, method: str) -> None:
    summary = summary_of(comparison, method)
    assert accuracy_on(summary, summary.tasks) == summary.acc


def test_means_over_kinds_of_equal_size_have_the_mean_over_tasks_as_their_mean(
    comparison: Comparison,
) -> None:
    summary = summary_of(comparison, "portal")
    means = [accuracy_on(summary, tasks) for tasks in comparison.kinds.values()]
    assert sum(each.known for each in means) / len(means) == pytest.approx(summary.acc.known)
    for seed in range(2):
        assert sum(each.values[seed] for each in means) / len(means) == pytest.approx(
            summary.acc.values[seed]
        )


def test_the_mean_over_one_task_is_that_tasks(comparison: Comparison) -> None:
    summary = summary_of(comparison, "lora")
    assert accuracy_on(summary, ("kind02_1",)) == summary.per_task["kind02_1"]


def test_the_lift_of_a_kind_is_that_of_its_means(comparison: Comparison) -> None:
    tasks = comparison.kinds["kind00"]
    base, port, lora = (
        accuracy_on(summary_of(comparison, method), tasks).known for method in ("base", "portal", "lora")
    )
    lift = lift_on(comparison, summary_of(comparison, "portal"), tasks)
    assert lift.value == pytest.approx((port - base) / (lora - base))
    assert mean_chance(comparison, tasks) == 0.25
    assert mean_chance(comparison, ()) is None


def test_a_mean_is_undefined_where_a_seed_lacks_a_task() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("lora", seed=seed, size=8)
    key = builder.rows[-1]["run"]
    rows = [line for line in builder.rows if (line["run"], line["task"]) != (key, "pronoun")]
    builder.rows = rows
    summary = summary_of(compare(gather_runs(builder.results_table()), "big"), "lora")

    assert accuracy_on(summary, ("capital", "yes-no")).n == 2
    for tasks in (("capital", "pronoun"), ("capital", "unknown")):
        assert accuracy_on(summary, tasks).mean is None
        assert accuracy_on(summary, tasks).reason == "a seed lacks a task of the kind"


@pytest.mark.parametrize(
    ("hub_id", "name"),
    [
        ("Qwen/Qwen3-4B", "qwen3-4b"),
        ("google/gemma-3-4b-pt", "gemma-3-4b"),
        ("google/gemma-4-E2B", "gemma-4-e2b"),
        ("mistralai/Mistral-7B-v0.3", "mistral-7b"),
    ],
)
def test_a_hub_id_has_the_numbers_of_its_short_name(hub_id: str, name: str) -> None:
    published = published_for(hub_id)

    assert published is not None
    assert published is published_for(name)


def test_every_base_is_found_by_its_name() -> None:
    assert all(published_for(name) is found for name, found in (PUBLISHED | CARDS).items())


@pytest.mark.parametrize(
    "base",
    [
        "/models/qwen3-4b",
        "./qwen3-4b",
        "models/qwen3-4b",
        "someone/Qwen3-4B",
        "mini-qwen3-m",
        "Qwen/Qwen3-0.6B",
    ],
)
def test_a_folder_and_another_base_have_none(base: str) -> None:
    assert published_for(base) is None
