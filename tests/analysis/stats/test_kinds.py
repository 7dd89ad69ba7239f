"""Means over the tasks of a kind agree with the means over all tasks that they are parts of."""

from dataclasses import replace

import pytest

from analysis.stats.aggregate import Comparison, MethodSummary, compare
from analysis.stats.kinds import accuracy_on, lift_on, mean_chance
from analysis.stats.result_table import gather_runs
from tests.support.result_tables import StudyBuilder, study_of_kinds


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
