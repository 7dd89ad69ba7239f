"""Weights of the draws of a bootstrap: how much every cluster of rows, and every task, counts in a draw.

A weight is exponential with mean 1 (the Bayesian bootstrap: Rubin, 1981, Annals of Statistics 9), so that no
draw leaves a task without a row or a group without a task, as drawing with replacement would. It depends on
the seed and a name alone: a person whom several tasks ask about has one weight in all of them, and all runs
and studies see the same draws. Shapes: D draws, C clusters of a task, K columns of numbers.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis.stats.answers import TaskAnswers

NUM_DRAWS = 10_000
_STEPS = 256
"""Weights are whole multiples of 1 / _STEPS, above 0: sums of counts are exact, whatever is beside them."""
_CLUSTERS_AT_ONCE = 64


@dataclass(frozen=True)
class ClusterDraws:
    """The draws of one task's clusters."""

    names_C: tuple[str, ...]
    num_draws: int
    seed: int

    def sums(self, value_CK: np.ndarray) -> np.ndarray:
        """(D, K) weighted sums of the clusters' values, in a unit of its own: only ratios of sums count."""
        sum_DK = np.zeros((self.num_draws, value_CK.shape[1]))
        for start in range(0, len(self.names_C), _CLUSTERS_AT_ONCE):
            some = slice(start, start + _CLUSTERS_AT_ONCE)
            weights = [_weights(f"cluster {name}", self.num_draws, self.seed) for name in self.names_C[some]]
            sum_DK += np.stack(weights, axis=1).astype(np.float64) @ value_CK[some].astype(np.float64)
        return sum_DK


def draw_clusters(
    answers: Mapping[str, TaskAnswers], *, num_draws: int, seed: int
) -> Iterator[tuple[str, ClusterDraws]]:
    """The draws of every task's clusters, by task."""
    for task in sorted(answers):
        yield task, ClusterDraws(answers[task].names, num_draws, seed)


def draw_task(task: str, *, num_draws: int, seed: int) -> np.ndarray:
    """(D,) what the task counts in every draw of the tasks."""
    return _weights(f"task {task}", num_draws, seed).astype(np.float64)


@lru_cache(maxsize=1024)
def _weights(name: str, num_draws: int, seed: int) -> np.ndarray:
    """(D,) the weights of what bears that name, in steps."""
    generator = np.random.default_rng((seed, zlib.crc32(name.encode())))
    steps = np.floor(generator.standard_exponential(num_draws, dtype=np.float32) * _STEPS) + 1
    weight_D = steps.astype(np.int16)
    weight_D.setflags(write=False)
    return weight_D
