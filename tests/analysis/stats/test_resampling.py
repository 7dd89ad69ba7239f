"""Weights of draws: of a name alone, of mean and variance one, in whole steps so that sums are exact."""

import numpy as np
import pytest

from analysis.stats.resampling import ClusterDraws, draw_task


def draws_of(*names: str, num_draws: int = 4000, seed: int = 0) -> ClusterDraws:
    return ClusterDraws(names, num_draws, seed)


def test_a_cluster_has_the_same_weights_in_every_task() -> None:
    value_CK = np.array([[1.0], [0.0]])

    alone = draws_of("ann").sums(np.array([[1.0]]))
    np.testing.assert_array_equal(draws_of("ann", "bob").sums(value_CK), alone)
    np.testing.assert_array_equal(draws_of("bob", "ann").sums(value_CK[::-1]), alone)
    assert not np.array_equal(draws_of("bob").sums(np.array([[1.0]])), alone)
    assert not np.array_equal(draws_of("ann", seed=1).sums(np.array([[1.0]])), alone)


def test_a_task_and_a_cluster_of_one_name_have_weights_of_their_own() -> None:
    assert not np.array_equal(
        draw_task("ann", num_draws=50, seed=0), draws_of("ann", num_draws=50).sums(np.array([[1.0]]))[:, 0]
    )


def test_weights_are_positive_with_a_variance_of_their_squared_mean() -> None:
    weight_D = draw_task("a task", num_draws=40_000, seed=0)

    assert weight_D.min() >= 1
    assert weight_D.std() / weight_D.mean() == pytest.approx(1, abs=0.02)


def test_other_columns_change_no_sum_of_counts() -> None:
    generator = np.random.default_rng(0)
    names = tuple(map(str, range(150)))
    count_CK = generator.integers(0, 3, (150, 40)).astype(float)

    together = draws_of(*names, num_draws=100).sums(count_CK)
    for column in range(40):
        alone = draws_of(*names, num_draws=100).sums(count_CK[:, [column]])
        np.testing.assert_array_equal(together[:, [column]], alone)
