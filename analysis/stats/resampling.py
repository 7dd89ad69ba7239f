"""Counts of a bootstrap's draws: how often a draw has a cluster of rows, and how often a task.

A count is Poisson with mean 1 (Hanley and MacGibbon, 2006), nearly what drawing with replacement gives, but
it depends on the seed and a name alone: a person whom several tasks ask about is drawn equally often in all
of them, and all runs and studies see the same draws. Shapes: D draws, C clusters of a task, K columns of
numbers.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import exp, factorial

import numpy as np

from analysis.stats.answers import TaskAnswers

NUM_DRAWS = 10_000
_CLUSTERS_AT_ONCE = 64
_MOST = 12
"""No name is drawn more often: the probability of more is 6e-11."""


@dataclass(frozen=True)
class ClusterDraws:
    """The draws of one task's clusters. A draw that would have none of them has each once."""

    names_C: tuple[str, ...]
    num_draws: int
    seed: int

    def sums(self, value_CK: np.ndarray) -> np.ndarray:
        """(D, K) sums of the drawn clusters' values; of counts they are exact, whatever is beside them."""
        names = [f"cluster {name}" for name in self.names_C]
        count_DC = _filled([_counts(name, self.num_draws, self.seed) for name in names])
        sum_DK = np.zeros((self.num_draws, value_CK.shape[1]))
        for start in range(0, len(names), _CLUSTERS_AT_ONCE):
            some = slice(start, start + _CLUSTERS_AT_ONCE)
            sum_DK += count_DC[:, some].astype(np.float64) @ value_CK[some].astype(np.float64)
        return sum_DK


def draw_clusters(
    answers: Mapping[str, TaskAnswers], *, num_draws: int, seed: int
) -> Iterator[tuple[str, ClusterDraws]]:
    """The draws of every task's clusters, by task."""
    for task in sorted(answers):
        yield task, ClusterDraws(answers[task].names, num_draws, seed)


def draw_tasks(tasks: Sequence[str], *, num_draws: int, seed: int) -> np.ndarray:
    """(D, T) how often every draw has each task; one that would have none of them has each once."""
    return _filled([_counts(f"task {name}", num_draws, seed) for name in tasks])


def _filled(counts: list[np.ndarray]) -> np.ndarray:
    """(D, N) the (D,) counts side by side, with ones in draws that have nothing."""
    count_DN = np.stack(counts, axis=1)
    count_DN[~count_DN.any(axis=1)] = 1
    return count_DN


@lru_cache(maxsize=1024)
def _counts(name: str, num_draws: int, seed: int) -> np.ndarray:
    """(D,) how often what bears that name is drawn."""
    generator = np.random.default_rng((seed, zlib.crc32(name.encode())))
    count_D = _quantiles()[generator.integers(2**16, size=num_draws, dtype=np.uint16)]
    count_D.setflags(write=False)
    return count_D


@cache
def _quantiles() -> np.ndarray:
    """The quantiles of Poisson(1) at the middles of 2^16 equal parts."""
    below = np.cumsum([exp(-1) / factorial(count) for count in range(_MOST)])
    return np.searchsorted(below, (np.arange(2**16) + 0.5) / 2**16).astype(np.uint8)
