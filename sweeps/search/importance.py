"""How much of the variance of a search's score each of its settings explains: fANOVA, with intervals."""

import math
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from portal.search_record import Importance

MIN_TRIALS = 12
"""Fewer complete trials than this say nothing of several settings."""
NUM_DRAWS = 40
"""Halves of the trials, drawn without replacement, of which the intervals are made."""
_LEVEL = 0.95
_SEED = 0


class ImportanceError(ValueError):
    """Importance cannot be told; the message says why."""


def importance_of(search: optuna.Study) -> dict[str, Importance]:
    """The importance of every setting.

    It is the share of the variance of the score, over the whole ranges, that the setting explains alone in a
    random forest over all settings (Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
    Hyperparameter Importance", ICML 2014). What shares leave to 1 is explained by several together. Intervals
    (95 %) are of halves of the trials: a half's share lies about as far from that of all as theirs from the
    truth (Politis, Romano and Wolf, "Subsampling", 1999). Trials that were pruned have no part in it.
    ImportanceError for too few trials, equal scores, or without scikit-learn.
    """
    complete = [trial for trial in search.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(complete) < MIN_TRIALS:
        raise ImportanceError(f"{len(complete)} complete trials are too few, it takes {MIN_TRIALS}")
    if len({trial.value for trial in complete}) == 1:
        raise ImportanceError("all trials have the same score")
    try:
        whole = _shares(search, complete)
    except ImportError:
        raise ImportanceError("it needs scikit-learn: pip install 'portal-sweeps[search]'") from None
    generator = np.random.default_rng(_SEED)
    halves = list[dict[str, float]]()
    while len(halves) < NUM_DRAWS:
        drawn = [complete[place] for place in generator.permutation(len(complete))[: len(complete) // 2]]
        if len({trial.value for trial in drawn}) > 1:
            halves.append(_shares(search, drawn))
    return {name: _with_limits(share, [half[name] for half in halves]) for name, share in whole.items()}


def _with_limits(share: float, halves: Sequence[float]) -> Importance:
    """The share with its interval: as far around it as those of the halves lie around their mean."""
    away = np.asarray(halves) - np.mean(halves)
    low, high = np.quantile(away, ((1 - _LEVEL) / 2, (1 + _LEVEL) / 2))
    return Importance(share, max(0.0, share + float(low)), min(1.0, share + float(high)))


def _shares(search: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """The shares of a study of these trials; `get_param_importances` would scale them to a sum of 1."""
    study = optuna.create_study(direction=search.direction)
    study.add_trials([_as_drawn(trial) for trial in trials])
    shares = FanovaImportanceEvaluator(seed=_SEED).evaluate(study)
    return {name: float(share) for name, share in shares.items()}


def _as_drawn(trial: FrozenTrial) -> FrozenTrial:
    """The trial with the logarithm of what was drawn on a logarithmic scale.

    Optuna's fANOVA weighs all values of a range alike. Of a rate from 1e-4 to 1e-1 that would be nine tenths
    for those above 1e-2, which a search draws as a third.
    """
    params, distributions = dict(trial.params), dict(trial.distributions)
    for name, drawn in trial.distributions.items():
        if isinstance(drawn, FloatDistribution | IntDistribution) and drawn.log:
            params[name] = math.log(trial.params[name])
            distributions[name] = FloatDistribution(math.log(drawn.low), math.log(drawn.high))
    return create_trial(params=params, distributions=distributions, value=trial.value)
