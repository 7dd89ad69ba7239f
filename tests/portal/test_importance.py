"""Which settings explain scores: of a search, and of a grid."""

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from portal.importance import ImportanceError, importance_of, importance_of_grid

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "decay": FloatDistribution(0.0, 4.0),
    "schedule": CategoricalDistribution(["constant", "linear"]),
}


def searched(score: Callable[[dict], float], count: int = 40) -> list[FrozenTrial]:
    generator = np.random.default_rng(7)
    trials = []
    for _ in range(count):
        params = {
            "lr": float(10 ** generator.uniform(-4, -1)),
            "decay": float(generator.uniform(0, 4)),
            "schedule": str(generator.choice(["constant", "linear"])),
        }
        trials.append(create_trial(params=params, distributions=SPACE, value=score(params)))
    return trials


def test_the_setting_that_makes_the_score_explains_it_alone() -> None:
    found = importance_of(searched(lambda params: float(np.log10(params["lr"]))))

    assert 0.9 < sum(each.share for each in found.values()) <= 1.0
    assert found["lr"].share > 0.9
    assert found["lr"].low > max(found["decay"].high, found["schedule"].high)


def test_settings_that_matter_alike_cannot_be_told_apart() -> None:
    found = importance_of(searched(lambda params: np.log10(params["lr"]) / 3 + params["decay"] / 4, count=20))

    assert found["schedule"].share < 0.2
    assert found["lr"].low < found["decay"].high
    assert found["decay"].low < found["lr"].high


def test_a_logarithmic_range_is_weighed_as_it_was_drawn() -> None:
    found = importance_of(searched(lambda params: np.log10(params["lr"]) / 3 + params["decay"] / 4, 80))

    assert found["lr"].share == pytest.approx(0.5, abs=0.1)  # of values alike over the range it would be 0.2
    assert found["decay"].share == pytest.approx(0.5, abs=0.1)


def test_what_two_settings_do_together_is_no_share_of_either() -> None:
    def together(params: dict) -> float:
        is_linear = params["schedule"] == "linear"
        return params["decay"] / 4 if is_linear else 1 - params["decay"] / 4

    found = importance_of(searched(together, count=60))

    assert sum(each.share for each in found.values()) < 0.7


def test_an_interval_holds_its_share_and_repeats() -> None:
    for count in (12, 40):
        trials = searched(lambda params: params["decay"] + params["lr"], count)
        found = importance_of(trials)
        assert all(0 <= each.low <= each.share <= each.high <= 1 for each in found.values())
        assert count > 12 or importance_of(trials) == found


def test_what_cannot_be_told_is_an_error_with_the_reason() -> None:
    params = {"lr": 1e-3, "decay": 0.0, "schedule": "linear"}
    values = {1: 0.5}
    pruned = create_trial(
        state=TrialState.PRUNED, params=params, distributions=SPACE, intermediate_values=values
    )
    few = [*searched(lambda params: params["lr"], 11), pruned]
    points, scores = grid(lambda own: own["rank"])

    with pytest.raises(ImportanceError, match="11 complete trials are too few, it takes 12"):
        importance_of(few)
    with pytest.raises(ImportanceError, match="all trials have the same score"):
        importance_of(searched(lambda params: 0.5, 12))
    with pytest.raises(ImportanceError, match="11 complete runs are too few, it takes 12"):
        importance_of_grid(points[:11], scores[:11])


def grid(score: Callable[[dict], float]) -> tuple[list[dict], list[float]]:
    """Every rank with every schedule in four seeds, and their scores."""
    points = [
        {"rank": rank, "schedule": schedule, "seed": seed}
        for rank in (2, 8, 32)
        for schedule in ("constant", "linear")
        for seed in range(4)
    ]
    return points, [score(point) for point in points]


def test_of_a_grid_each_value_is_weighed_alike_however_far_apart() -> None:
    places = {2: 0.0, 8: 0.5, 32: 1.0}
    found = importance_of_grid(*grid(lambda own: places[own["rank"]] + (own["schedule"] == "linear")))

    # Variances over levels weighed alike: 1/6 of the rank, 1/4 of the schedule.
    assert found["rank"].share == pytest.approx(0.4, abs=0.03)
    assert found["schedule"].share == pytest.approx(0.6, abs=0.03)
    assert found["seed"].share < 0.05


def test_where_only_the_seed_matters_a_grid_says_so_and_optuna_tells_nothing_of_its_own_studies(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = optuna.logging.get_verbosity()

    found = importance_of_grid(*grid(lambda own: own["seed"] % 3))

    assert found["seed"].share > 0.8
    assert found["seed"].low > max(found["rank"].high, found["schedule"].high)
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before
