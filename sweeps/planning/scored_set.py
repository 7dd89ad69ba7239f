"""`ScoredSet`: rows of a task and split that are scored together, and the forwards that this takes."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from portal.evaluate.loglikelihood import MAX_TOKENS
from portal.forward.length_buckets import group_by_length


@dataclass(frozen=True)
class Layout:
    """Forwards of a set, the tokens of its rows, and these with their padding."""

    forwards: int
    tokens: int
    padded_tokens: int


@dataclass(frozen=True)
class ScoredSet:
    """So many questions, scored in so many evaluations; `sizes` are (longest row, rows) of sampled ones."""

    questions: int
    times: float
    sizes: tuple[tuple[int, int], ...]

    def layout(self, forward_cost: float) -> Layout:
        """What one evaluation takes where a forward costs so many tokens: the sample is repeated."""
        return _layout(self.questions, self.sizes, forward_cost)


@lru_cache(maxsize=2**16)
def _layout(questions: int, sizes: tuple[tuple[int, int], ...], forward_cost: float) -> Layout:
    every = [sizes[index % len(sizes)] for index in range(questions)]
    items = [(size, *size) for size in every]
    forwards = padded = 0
    for length, group in group_by_length(items, forward_cost=forward_cost, max_tokens=MAX_TOKENS):
        most = max(1, MAX_TOKENS // (length * max(rows for _, rows in group)))
        forwards += ceil(len(group) / most)
        padded += length * sum(rows for _, rows in group)
    return Layout(forwards, sum(longest * rows for longest, rows in every), padded)
