"""How far the seed decides what a method scores on a task."""

import statistics
from math import sqrt

import pytest

from analysis.stats.aggregate import MethodSummary, compare
from analysis.stats.epoch_selection import KEPT
from analysis.stats.result_table import gather_runs
from analysis.stats.seed_spread import find_seed_spreads
from tests.support.result_tables import TASKS, row, to_table

SCORES = {"capital": (0.5, 0.7, 0.9), "pronoun": (0.6, 0.6, 0.6), "yes-no": (0.4, 0.5, 0.4)}


def summaries_of(scores: dict[str, tuple[float, ...]], *, without: int | None = None) -> list[MethodSummary]:
    """One LoRA with these scores by task and seed; the run of seed `without` lacks the last task."""
    rows = [
        row(
            run=f"r{seed}", method="lora", seed=seed, size=8, rank=4, modules="q,v", task=task, epoch=1,
            acc_norm=value, kept=True,
        )
        for task, values in scores.items()
        for seed, value in enumerate(values)
        if not (seed == without and task == TASKS[-1])
    ]  # fmt: skip
    return list(compare(gather_runs(to_table(rows)), "big", KEPT).summaries)


def test_the_pooled_std_is_the_root_of_the_mean_variance_over_tasks() -> None:
    (found,) = find_seed_spreads(summaries_of(SCORES))

    variances = [statistics.variance(values) for values in SCORES.values()]
    assert found.pooled.value == pytest.approx(sqrt(sum(variances) / 3))
    assert (found.num_seeds, found.num_tasks) == (3, 3)
    assert (found.largest, found.largest_task) == (pytest.approx(0.2), "capital")


def test_its_interval_draws_tasks_and_lies_between_the_least_and_the_largest_std() -> None:
    (found,) = find_seed_spreads(summaries_of(SCORES))
    (alike,) = find_seed_spreads(summaries_of(dict.fromkeys(TASKS, (0.4, 0.6))))

    assert found.pooled.low is not None
    assert found.pooled.high is not None
    assert 0 <= found.pooled.low < found.pooled.value < found.pooled.high <= found.largest
    assert alike.pooled.low == pytest.approx(alike.pooled.value) == pytest.approx(alike.pooled.high)


def test_one_seed_has_no_spread() -> None:
    assert find_seed_spreads(summaries_of(dict.fromkeys(TASKS, (0.4,)))) == ()


def test_a_method_of_which_a_task_has_one_seed_only_has_none() -> None:
    two = dict.fromkeys(TASKS, (0.4, 0.6))

    assert find_seed_spreads(summaries_of(two, without=1)) == ()
