"""How much of the variance of scores each of several settings explains: fANOVA, with intervals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from portal.search_record import MIN_TRIALS, Importance

NUM_DRAWS = 40
"""Halves of the trials, drawn without replacement, of which the intervals are made."""
_TREES, _TREES_OF_A_HALF = 64, 16
"""What few trees add to the spread over halves is small beside it."""
_LEVEL = 0.95
_SEED = 0


class ImportanceError(ValueError):
    """Importance cannot be told; the message says why."""


def importance_of(trials: Sequence[FrozenTrial], unit: str = "trial") -> dict[str, Importance]:
    """The importance of every setting by the values of the complete trials, which messages call `unit`.

    It is the share of the variance of the score, over the whole ranges, that the setting explains alone in a
    random forest over all settings (Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
    Hyperparameter Importance", ICML 2014). What shares leave to 1 is explained by several together. Intervals
    (95 %) are of halves of the trials: a half's share lies about as far from that of all as theirs from the
    truth (Politis, Romano and Wolf, "Subsampling", 1999).
    ImportanceError for too few trials, equal scores, or without scikit-learn.
    """
    trials = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(trials) < MIN_TRIALS:
        raise ImportanceError(f"{len(trials)} complete {unit}s are too few, it takes {MIN_TRIALS}")
    if len({trial.value for trial in trials}) == 1:
        raise ImportanceError(f"all {unit}s have the same score")
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study that it makes
    try:
        whole = _shares(trials, _TREES)
        halves = [_shares(half, _TREES_OF_A_HALF) for half in _halves(trials)]
    except ImportError:
        raise ImportanceError("it needs scikit-learn: pip install 'portal-sweeps[search]'") from None
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: _with_limits(share, [half[name] for half in halves]) for name, share in whole.items()}


def importance_of_grid(
    settings: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, Importance]:
    """As `importance_of`, of points with the same settings each, whose values are weighed alike."""
    texts = [{name: str(value) for name, value in own.items()} for own in settings]
    levels = {name: CategoricalDistribution(sorted({own[name] for own in texts})) for name in texts[0]}
    points = zip(texts, values, strict=True)
    trials = [create_trial(params=own, distributions=levels, value=value) for own, value in points]
    return importance_of(trials, "run")


def _halves(trials: Sequence[FrozenTrial]) -> Iterator[list[FrozenTrial]]:
    """NUM_DRAWS halves of the trials that do not have one value only."""
    generator = np.random.default_rng(_SEED)
    count = 0
    while count < NUM_DRAWS:
        drawn = [trials[place] for place in generator.permutation(len(trials))[: len(trials) // 2]]
        if len({trial.value for trial in drawn}) > 1:
            count += 1
            yield drawn


def _with_limits(share: float, halves: Sequence[float]) -> Importance:
    """The share with its interval: as far around it as those of the halves lie around their mean."""
    away = np.asarray(halves) - np.mean(halves)
    low, high = np.quantile(away, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return Importance(share, max(0.0, share + float(low)), min(1.0, share + float(high)))


def _shares(trials: Sequence[FrozenTrial], trees: int) -> dict[str, float]:
    """The shares of a study of these trials; `get_param_importances` would scale them to a sum of 1."""
    study = optuna.create_study()
    study.add_trials([_as_drawn(trial) for trial in trials])
    shares = FanovaImportanceEvaluator(n_trees=trees, seed=_SEED).evaluate(study)
    return {name: float(share) for name, share in shares.items()}


def _as_drawn(trial: FrozenTrial) -> FrozenTrial:
    """The trial with the logarithm of what was drawn on a logarithmic scale, and the place of each word.

    Optuna's fANOVA weighs all values of a range alike. Of a rate from 1e-4 to 1e-1 that would be nine tenths
    for those above 1e-2, which a search draws as a third. It makes an axis of each word, and weighs points
    with several words at once, too; on one axis with a stretch for each word they weigh alike.
    """
    params, distributions = dict(trial.params), dict(trial.distributions)
    for name, drawn in trial.distributions.items():
        if isinstance(drawn, FloatDistribution | IntDistribution) and drawn.log:
            params[name] = math.log(trial.params[name])
            distributions[name] = FloatDistribution(math.log(drawn.low), math.log(drawn.high))
        elif isinstance(drawn, CategoricalDistribution):
            params[name] = float(drawn.choices.index(trial.params[name]))
            distributions[name] = FloatDistribution(-0.5, len(drawn.choices) - 0.5)
    return create_trial(params=params, distributions=distributions, value=trial.value)
