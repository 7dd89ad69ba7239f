"""A sampled step has the rows that a pack's learners draw, planned as they are when it trains."""

from dataclasses import replace

import pytest

from portal.forward.microbatch_plan import LaunchCost
from sweeps.planning.planned_step import sample_step
from sweeps.planning.workload import Work

WORK = Work(
    steps=10,
    rows_per_step=12,
    tasks=3,
    row_tokens=30,
    answer_tokens=3,
    scored_tokens=0,
    scored_answer_share=0.2,
    scored_rows=0,
    lengths=((20,), (60,), (250,)),
)
FREE, DEAR = LaunchCost(0.0, 0.0), LaunchCost(1e6, 1e5)


def test_every_learner_gives_the_rows_of_every_task() -> None:
    one, two = sample_step([WORK], FREE, on_gpu=True), sample_step([WORK, WORK], FREE, on_gpu=True)

    assert one.real_tokens == 4 * (20 + 60 + 250)
    assert two.real_tokens == 2 * one.real_tokens
    assert one.forwards == two.forwards == 3  # lengths
    assert 1.0 <= one.padding == two.padding < 1.05  # to the grain of lengths


def test_where_launches_are_dear_all_rows_share_a_forward() -> None:
    step = sample_step([WORK, WORK], DEAR, on_gpu=True)

    assert step.forwards == 1
    assert step.launches == DEAR.forward
    assert step.padding == pytest.approx(256 / 110)


def test_memory_limits_the_tokens_of_a_forward() -> None:
    whole, parts = (sample_step([WORK], DEAR, on_gpu=True, max_tokens=most) for most in (12 * 256, 8 * 256))

    assert (whole.forwards, parts.forwards) == (1, 2)
    assert parts.padded_tokens == whole.padded_tokens
    assert parts.launches == pytest.approx(2 * whole.launches)


def test_without_sampled_rows_all_are_as_long_as_the_mean() -> None:
    step = sample_step([replace(WORK, lengths=(), row_tokens=31.6)], FREE, on_gpu=True)

    assert step.real_tokens == 12 * 32
    assert step.forwards == 1


def test_fewer_rows_than_tasks_are_those_of_some_tasks() -> None:
    step = sample_step([replace(WORK, rows_per_step=2)], FREE, on_gpu=True)

    assert step.real_tokens == 20 + 60


def test_on_a_cpu_other_learners_change_no_ones_forwards() -> None:
    one, two = (sample_step([WORK] * count, LaunchCost(600.0, 0.0), on_gpu=False) for count in (1, 2))

    assert one.padding == two.padding > 1.05
    assert one.forwards == two.forwards == 2
