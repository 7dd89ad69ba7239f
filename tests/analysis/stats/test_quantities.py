"""Spreads over seeds: a std needs two seeds, and no value is a reason."""

from analysis.stats.quantities import Spread, spread


def test_one_seed_has_no_std() -> None:
    assert spread([0.5]).std is None


def test_without_a_value_there_is_a_reason_instead_of_a_mean() -> None:
    assert spread([], reason="no finished run") == Spread(None, None, 0, "no finished run")


def test_the_order_of_the_seeds_changes_nothing() -> None:
    values = [0.1, 0.7, 0.3]

    assert spread(values).mean == spread(values[::-1]).mean
    assert spread(values).std == spread(values[::-1]).std
