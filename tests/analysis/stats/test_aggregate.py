"""Spreads, lift, reported epochs, rows used, what stands for a method, and kinds of tasks."""

from dataclasses import replace

import pytest

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
from analysis.stats.result_table import MethodKey, Run
from tests.support.result_tables import (
    StudyBuilder,
    known,
    row,
    study_of,
    study_of_kinds,
    study_of_ranks,
    target_of,
)


def test_a_spread_has_a_std_from_two_seeds_on_a_reason_without_any_and_no_order() -> None:
    assert spread([0.5]).std is None
    assert spread([], reason="no finished run") == Spread(None, None, 0, "no finished run")
    one, other = spread([0.1, 0.7, 0.3]), spread([0.3, 0.7, 0.1])
    assert (one.mean, one.std) == (other.mean, other.std)


def test_lift_and_retention_are_undefined_with_a_reason() -> None:
    assert "does not rise" in known(recovered_lift(0.7, 0.6, 0.6).reason)
    for numbers in ((None, 0.5, 0.6), (0.5, None, 0.6), (0.5, 0.4, None)):
        lift = recovered_lift(*numbers)
        assert lift.value is None
        assert lift.reason
    assert retention(0.5, None).value is None


def run_of(method: str, scores: dict[tuple[str, int, str], tuple[float, float]]) -> Run:
    """A run from (split, epoch, task) -> (acc_norm, log_loss)."""
    rows = [
        row(method=method, split=split, epoch=epoch, task=task, acc_norm=acc, log_loss=loss, seed=0, size=8)
        for (split, epoch, task), (acc, loss) in scores.items()
    ]
    return study_of(rows).runs[0]


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


def test_each_rule_chooses_at_its_own_granularity() -> None:
    for method, rule, a, b in (
        ("portal", "best_on_validation", 2, 2),
        ("lora", "best_on_validation", 1, 2),
        ("portal", "paper", 3, 3),
        ("lora", "paper", 2, 3),
        ("portal", "final", 3, 3),
        ("portal", "kept", 3, 3),  # the table does not say which: the last
    ):
        assert select_epochs(run_of(method, SCORES), rule) == {"a": a, "b": b}, (method, rule)


def test_ties_go_to_the_lower_log_loss_and_then_to_the_earlier_epoch() -> None:
    losses = {1: 2.0, 2: 1.0, 3: 1.0}
    scores = {
        (split, epoch, "a"): (0.5, loss) for split in ("validation", "test") for epoch, loss in losses.items()
    }

    assert select_epochs(run_of("portal", scores), "best_on_validation") == {"a": 2}


def test_where_test_rows_are_of_the_kept_and_the_last_evaluation_only_other_choices_are_refused() -> None:
    for method, kept in (("portal", {"a": 2, "b": 2}), ("lora", {"a": 1, "b": 2})):
        run = run_of(
            method,
            {
                (split, epoch, task): score
                for (split, epoch, task), score in SCORES.items()
                if split == "validation" or epoch in (3, kept[task])
            },
        )
        run.kept.update(kept)

        assert select_epochs(run, "best_on_validation") == kept
        assert select_epochs(run, "final") == {"a": 3, "b": 3}
        with pytest.raises(SelectionError, match="test rows are scored at the kept and the last evaluation"):
            select_epochs(run, "paper")


def test_an_only_epoch_is_taken_several_without_validation_rows_are_not_chosen_from() -> None:
    base = run_of("base", {("test", 0, "a"): (0.5, 1.0)})

    assert select_epochs(run_of("lora", {("test", 5, "a"): (0.5, 1.0)}), "best_on_validation") == {"a": 5}
    assert {rule: select_epochs(base, rule) for rule in RULES} == {rule: {"a": 0} for rule in RULES}
    with pytest.raises(SelectionError, match="no validation rows"):
        select_epochs(
            run_of("portal", {("test", epoch, "a"): (0.5, 1.0) for epoch in (1, 2)}), "best_on_validation"
        )
    with pytest.raises(ValueError, match="'best'"):
        select_epochs(base, "best")


def rows_used_of(
    trained: dict[str, int | None], *, rule: str = "kept", epochs: int = 1, keeps_best: bool | None = False
) -> int | None:
    rows = [
        row(run="r", method="portal", seed=0, size=8, task=task, epoch=epoch, split=split,
            num_examples=16 if split == "validation" else 50, train_rows=count, keeps_best=keeps_best)
        for task, count in trained.items()
        for epoch in range(1, epochs + 1)
        for split in ("validation", "test")
    ]  # fmt: skip
    return rows_used(study_of(rows).runs[0], rule)


def test_rows_that_chose_the_epoch_count_beside_those_that_were_trained_on() -> None:
    trained = {"a": 8, "b": 3, "c": 0}
    for epochs, keeps_best, rule, chosen_on in (
        (1, False, "best_on_validation", 0),  # nothing to choose
        (2, False, "kept", 0),
        (2, False, "final", 0),
        (2, False, "best_on_validation", 2 * 16),
        (2, False, "paper", 2 * 50),
        (2, True, "kept", 2 * 16),
        (2, True, "final", 2 * 16),
    ):
        found = rows_used_of(trained, rule=rule, epochs=epochs, keeps_best=keeps_best)
        assert found == 8 + 3 + chosen_on, (epochs, keeps_best, rule)
    assert rows_used_of({"a": None}) is rows_used_of(trained, keeps_best=None) is None  # it is not said


def test_unlike_evaluation_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="another evaluation set"):
        study_of([row(run="a"), row(run="b", eval_set="f" * 64)])


def test_of_two_runs_in_one_place_more_epochs_count_and_then_more_test_rows() -> None:
    builder = StudyBuilder(with_predictions=False)
    long = builder.add("lora", seed=0, size=8, rates=(0.5, 0.6, 0.7))
    short = builder.add("lora", seed=0, size=8, rates=(0.9,))
    studies = {(long, short): builder.study()}
    for whole in "az":
        studies[whole, "m"] = study_of(
            [
                row(run=run, split=split, epoch=epoch)
                for run in (whole, "m")
                for split in ("validation", "test")
                for epoch in (1, 2, 3)
                if (run, split, epoch) != ("m", "test", 1)
            ]
        )

    for (counts, passed_over), study in studies.items():
        assert [run.key for run in study.runs] == [counts]
        assert study.duplicates == (passed_over,)


def test_source_runs_stand_apart_from_the_comparison() -> None:
    builder = StudyBuilder(with_predictions=False)
    builder.add("source", base="small", seed=0, size=8, rates=(0.5, 0.6))
    builder.add("base", base="small", rates=(0.4,))

    assert [each.cell.method for each in compare(builder.study(), "small").summaries] == ["base"]
    assert [each.cell.base for each in summarise_sources(builder.study())] == ["small"]


def test_a_method_under_its_plain_name_comes_before_its_variants() -> None:
    variants = [MethodKey("lora", name, "q,v", 8, None) for name in ("anchor", "lora", "zz")]

    assert [variant.name for variant in sorted(variants, key=MethodKey.sort_key)] == ["lora", "anchor", "zz"]


def port_of(rows: list[dict]) -> MethodSummary:
    return known(target_of(rows).comparison.representative("portal"))


def test_the_plain_method_stands_for_its_variants_and_of_variants_alone_validation_rows_choose() -> None:
    with_plain, rows = (
        study_of_ranks({2: 0.4, 16: 0.7}, portal=0.5).rows,
        study_of_ranks({2: 0.4, 8: 0.7}).rows,
    )
    best_on_test = [
        {**each, "acc_norm": 0.99} if (each["label"], each["split"]) == ("r2", "test") else each
        for each in rows
    ]
    later = [  # r2 is ahead on validation rows of an epoch that another rule reports
        {**each, "epoch": 2, "acc_norm": 0.9 if each["split"] == "validation" else each["acc_norm"]}
        for each in rows
        if each["label"] == "r2"
    ]
    unjudged = [each for each in rows if each["split"] == "test"]

    chosen = [port_of(each).cell.variant.name for each in (with_plain, best_on_test, rows + later, unjudged)]

    assert chosen == ["portal", "r8", "r2", "r2"]
    assert port_of(best_on_test).acc.mean == pytest.approx(0.7, abs=0.1)
    final = known(target_of(rows + later).rules["final"].representative("portal"))
    assert final.validation_acc.mean == pytest.approx(0.9)
    assert port_of(unjudged).validation_acc.reason == "no validation rows"


def test_the_base_and_the_lora_are_stood_for_by_what_lift_is_measured_with() -> None:
    rows = study_of_ranks({8: 0.7}).rows
    wide = [{**each, "run": "wide", "rank": 16, "label": "wide"} for each in rows if each["method"] == "lora"]
    comparison = target_of(rows + wide).comparison

    assert comparison.representative("lora") is comparison.reference_lora
    assert known(comparison.reference_lora).cell.variant.rank == 16
    assert comparison.representative("base") is comparison.frozen_base
    assert comparison.representative("hypernet") is None


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    builder, kinds = study_of_kinds(3, 4)
    return compare(replace(builder.study(), kinds=kinds), "big")


def test_scores_on_a_kind_on_a_task_and_on_all_tasks_agree(comparison: Comparison) -> None:
    assert list(comparison.kinds) == ["kind00", "kind01", "kind02"]
    assert comparison.kinds["kind01"] == ("kind01_0", "kind01_1", "kind01_2", "kind01_3")
    for method in ("base", "lora", "portal"):
        summary = known(comparison.representative(method))
        means = [accuracy_on(summary, tasks) for tasks in comparison.kinds.values()]
        assert accuracy_on(summary, summary.tasks) == summary.acc
        assert accuracy_on(summary, ("kind02_1",)) == summary.per_task["kind02_1"]
        assert sum(each.known for each in means) / 3 == pytest.approx(summary.acc.known)
        for own, all_tasks in zip(
            zip(*(each.values for each in means), strict=True), summary.acc.values, strict=True
        ):
            assert sum(own) / 3 == pytest.approx(all_tasks)


def test_the_lift_of_a_kind_is_that_of_its_means(comparison: Comparison) -> None:
    tasks = comparison.kinds["kind00"]
    summaries = [known(comparison.representative(method)) for method in ("base", "portal", "lora")]
    base, port, lora = (accuracy_on(summary, tasks).known for summary in summaries)

    assert lift_on(comparison, summaries[1], tasks).value == pytest.approx((port - base) / (lora - base))
    assert (mean_chance(comparison, tasks), mean_chance(comparison, ())) == (0.25, None)


def test_a_mean_is_undefined_where_a_seed_lacks_a_task() -> None:
    builder = StudyBuilder(with_predictions=False)
    for seed in range(2):
        builder.add("lora", seed=seed, size=8)
    key = builder.rows[-1]["run"]
    builder.rows = [line for line in builder.rows if (line["run"], line["task"]) != (key, "pronoun")]
    summary = known(compare(builder.study(), "big").representative("lora"))

    assert accuracy_on(summary, ("capital", "yes-no")).n == 2
    for tasks in (("capital", "pronoun"), ("capital", "unknown")):
        assert accuracy_on(summary, tasks).mean is None
        assert accuracy_on(summary, tasks).reason == "a seed lacks a task of the kind"


def test_published_numbers_are_found_by_a_bases_name_or_hub_id_and_by_no_other() -> None:
    for hub_id, name in (
        ("Qwen/Qwen3-4B", "qwen3-4b"),
        ("google/gemma-3-4b-pt", "gemma-3-4b"),
        ("google/gemma-4-E2B", "gemma-4-e2b"),
        ("mistralai/Mistral-7B-v0.3", "mistral-7b"),
    ):
        assert known(published_for(hub_id)) is published_for(name)
    assert all(published_for(name) is found for name, found in (PUBLISHED | CARDS).items())
    folders = ("/models/qwen3-4b", "./qwen3-4b", "models/qwen3-4b")
    for other in (*folders, "someone/Qwen3-4B", "mini-qwen3-m", "Qwen/Qwen3-0.6B"):
        assert published_for(other) is None
