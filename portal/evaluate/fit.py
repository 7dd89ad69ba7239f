"""How well rows are fitted: what is left of the uncertainty of a guess."""

import math
from collections.abc import Sequence

import torch

from portal.evaluate.loglikelihood import Scored


def guess_left(scored: Sequence[Scored]) -> float:
    """The mean over rows of -ln p(gold) / ln K, where p is the softmax of a row's K log-likelihoods.

    0: every gold answer is certain; 1: as uncertain as a guess among the choices; above: worse than that.
    """
    return math.fsum(_cross_entropy(item) / math.log(len(item.scores)) for item in scored) / len(scored)


def _cross_entropy(item: Scored) -> float:
    scores_K = torch.tensor(item.scores, dtype=torch.float64)
    return float(-scores_K.log_softmax(0)[item.row.gold])
