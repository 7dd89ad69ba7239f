"""`Calibration`: how far a method's probabilities of its answers can be trusted.

A choice's probability is the softmax over the choices of their log-likelihoods (not normalised by length).
Shapes: N rows of a task, C clusters, R runs, D draws, B bins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np

from analysis.stats.aggregate import Spread, spread
from analysis.stats.answers import Answers, TaskAnswers
from analysis.stats.bootstrap import NUM_DRAWS, Bootstrap, Chosen, Interval, draw_clusters, to_bootstrap
from analysis.stats.result_table import Cell

NUM_BINS = 15
"""Bins of equal width of the highest probability, as in Guo et al., 2017 (arXiv:1706.04599)."""


@dataclass(frozen=True)
class Bin:
    """Answers of like probability: how many there are, their mean probability and the share that is right."""

    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """The calibration of one cell.

    `nll` (nats per question, of the gold choice among the choices) and `brier` (0 to 2) are task means within
    a seed. `ece`, the expected calibration error, pools all tasks' answers of a seed: sum over bins of their
    share times |accuracy - mean confidence|. `bins` pool tasks and seeds.
    """

    cell: Cell
    acc: Spread
    nll: Spread
    brier: Spread
    ece: Spread
    ece_interval: Interval
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class ErrorDraws:
    """The ECE of runs in draws of the clusters, for the upper and for the lower limit of its interval.

    Sampling noise biases ECE upwards, and resampling adds that bias once more. `above`, for the upper limit:
    the draws, shifted down by the estimated bias. `below`, for the lower limit: the estimate minus the
    absolute changes of all bins' gaps in a draw, summed, which by the triangle inequality is a valid lower
    limit. The interval between both held a known error in 93 % of trials or more, also an error of 0.
    """

    above: Bootstrap
    below: Bootstrap

    def interval(self, cell: Cell) -> Interval:
        """The mean over the cell's seeds, and its interval."""
        above, below = self.above.estimate(cell), self.below.estimate(cell)
        assert below.low is not None
        return Interval(above.value, max(below.low, 0.0), above.high)


def calibrate(
    chosen: Chosen, answers: Mapping[str, TaskAnswers], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> tuple[Calibration, ...]:
    """The calibration of every chosen cell."""
    errors = draw_errors(chosen, answers, num_draws=num_draws, seed=seed)
    return tuple(
        _calibrate_cell(cell, [runs[place] for place in sorted(runs, key=lambda s: s or 0)], answers, errors)
        for cell, runs in chosen.members.items()
    )


def draw_errors(
    chosen: Chosen, answers: Mapping[str, TaskAnswers], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> ErrorDraws:
    """ECE of every chosen run in every draw of the clusters."""
    keys = sorted(chosen.runs)
    gap_DRB = np.zeros((num_draws, len(keys), NUM_BINS))
    point_RB = np.zeros((len(keys), NUM_BINS))
    rows_D = np.zeros(num_draws)
    num_rows = 0.0
    for task, drawn in draw_clusters(answers, num_draws=num_draws, seed=seed):
        given = answers[task]
        gap_CRB = np.stack([_gaps_by_cluster(given, given.answers[key]) for key in keys], axis=1)
        sums = drawn.sums(np.concatenate([gap_CRB.reshape(len(gap_CRB), -1), given.sizes[:, None]], axis=1))
        gap_DRB += sums[:, :-1].reshape(gap_DRB.shape)
        rows_D += sums[:, -1]
        point_RB += gap_CRB.sum(axis=0)
        num_rows += given.sizes.sum()
    gap_DRB /= rows_D[:, None, None]
    point_RB /= num_rows
    point_R = np.abs(point_RB).sum(axis=1)
    error_DR = np.abs(gap_DRB).sum(axis=2)
    above_DR = np.maximum(error_DR - (error_DR.mean(axis=0) - point_R), 0)
    below_DR = point_R - np.abs(gap_DRB - point_RB).sum(axis=2)
    above, below = (to_bootstrap(chosen, keys, draws, point_R, seed) for draws in (above_DR, below_DR))
    return ErrorDraws(above, below)


def bin_answers(answers: Sequence[Answers]) -> tuple[Bin, ...]:
    """All the answers together in bins of width 1 / NUM_BINS, ascending, without empty bins."""
    confidence = np.concatenate([each.confidence for each in answers])
    correct = np.concatenate([each.likeliest_correct for each in answers])
    place = _bins_of(confidence)
    counts = np.bincount(place, minlength=NUM_BINS)
    confidences = np.bincount(place, weights=confidence, minlength=NUM_BINS)
    rights = np.bincount(place, weights=correct, minlength=NUM_BINS)
    return tuple(
        Bin(
            int(counts[number]),
            float(confidences[number] / counts[number]),
            float(rights[number] / counts[number]),
        )
        for number in np.flatnonzero(counts)
    )


def _calibrate_cell(
    cell: Cell, keys: Sequence[str], answers: Mapping[str, TaskAnswers], errors: ErrorDraws
) -> Calibration:
    def over_seeds(name: str) -> Spread:
        """Task means of a field of Answers, one per run."""
        return spread(
            [
                fsum(float(getattr(given.answers[key], name).mean()) for given in answers.values())
                / len(answers)
                for key in keys
            ]
        )

    return Calibration(
        cell=cell,
        acc=over_seeds("likeliest_correct"),
        nll=over_seeds("nll"),
        brier=over_seeds("brier"),
        ece=spread([errors.above.points[key] for key in keys]),
        ece_interval=errors.interval(cell),
        bins=bin_answers([given.answers[key] for given in answers.values() for key in keys]),
    )


def _bins_of(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def _gaps_by_cluster(given: TaskAnswers, answers: Answers) -> np.ndarray:
    """(C, B) sums of right answers minus confidence, by cluster and bin."""
    gap_N = answers.likeliest_correct - answers.confidence
    place_N = given.clusters * NUM_BINS + _bins_of(answers.confidence)
    num_clusters = len(given.sizes)
    return np.bincount(place_N, weights=gap_N, minlength=num_clusters * NUM_BINS).reshape(num_clusters, -1)
