"""Counts of draws: of a name alone, as Poisson's are, never all zero, and with exact sums."""

import numpy as np
import pytest

from analysis.stats.resampling import ClusterDraws, draw_tasks


def draws_of(*names: str, num_draws: int = 4000, seed: int = 0) -> ClusterDraws:
    return ClusterDraws(names, num_draws, seed)


def test_a_cluster_is_drawn_equally_often_in_every_task() -> None:
    others = tuple(map(str, range(20)))
    first = np.eye(21)[:, :1]

    counts = draws_of("ann", *others).sums(first)
    np.testing.assert_array_equal(draws_of(*others[::-1], "ann").sums(first[::-1]), counts)
    assert not np.array_equal(draws_of("bob", *others).sums(first), counts)
    assert not np.array_equal(draws_of("ann", *others, seed=1).sums(first), counts)


def test_a_task_and_a_cluster_of_one_name_have_counts_of_their_own() -> None:
    others = tuple(map(str, range(20)))

    count_DT = draw_tasks(("ann", *others), num_draws=50, seed=0)
    assert not np.array_equal(count_DT[:, 0], draws_of("ann", *others, num_draws=50).sums(np.eye(21))[:, 0])


def test_counts_are_whole_and_have_the_moments_of_a_poisson_variable() -> None:
    count = draw_tasks([str(place) for place in range(30)], num_draws=40_000, seed=0)[:, 3].astype(float)

    assert (count.mean(), count.var()) == pytest.approx((1, 1), abs=0.02)
    assert np.mean(count == 0) == pytest.approx(np.exp(-1), abs=0.01)


def test_a_draw_that_would_have_nothing_has_everything_once() -> None:
    tasks = draw_tasks(("a", "b"), num_draws=2000, seed=0)
    clusters = draws_of("a", "b", num_draws=2000).sums(np.eye(2))

    for count_DN in (tasks, clusters):
        assert count_DN.sum(axis=1).min() >= 1
        # Both are 1 by themselves with probability e^-2, and as often because both would be 0.
        assert np.mean((count_DN == 1).all(axis=1)) == pytest.approx(2 * np.exp(-2), abs=0.03)


def test_other_columns_change_no_sum_of_counts() -> None:
    generator = np.random.default_rng(0)
    names = tuple(map(str, range(150)))
    count_CK = generator.integers(0, 3, (150, 40)).astype(float)

    together = draws_of(*names, num_draws=100).sums(count_CK)
    for column in range(40):
        alone = draws_of(*names, num_draws=100).sums(count_CK[:, [column]])
        np.testing.assert_array_equal(together[:, [column]], alone)
