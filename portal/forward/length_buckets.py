"""Rows of like length together: the cut of the sorted lengths that costs least in padding and launches."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Generic, TypeVar

Item = TypeVar("Item")

_GRAIN = ((64, 4), (128, 8), (256, 16), (512, 32))
"""Up to so many tokens a padded length is a multiple of so many; beyond, of 64. The fewer the lengths, the
more a GPU's allocator finds what it needs."""


@cache
def bucket_length(length: int) -> int:
    """The padded length of a forward whose longest row has `length` tokens."""
    grain = next((grain for limit, grain in _GRAIN if length <= limit), 64)
    return -(-length // grain) * grain


def group_by_length(
    items: Iterable[tuple[Item, int, int]], *, forward_cost: float, max_tokens: int
) -> list[tuple[int, list[Item]]]:
    """(padded length, items) of every group, lengths rising, from (item, its longest row, its rows).

    A group costs its padded tokens and `forward_cost` for each forward of at most `max_tokens` that they
    take. Items of one length keep their order.
    """
    return LengthBuckets(items).groups(forward_cost=forward_cost, max_tokens=max_tokens)


class LengthBuckets(Generic[Item]):
    """(item, its longest row, its rows) by padded length, to be grouped at one cost of a forward or more."""

    def __init__(self, items: Iterable[tuple[Item, int, int]]) -> None:
        buckets: dict[int, list[Item]] = {}
        rows: dict[int, int] = {}
        for item, longest, count in items:
            length = bucket_length(longest)
            buckets.setdefault(length, []).append(item)
            rows[length] = rows.get(length, 0) + count
        self._lengths = sorted(buckets)
        self._items = [buckets[length] for length in self._lengths]
        self._rows = [rows[length] for length in self._lengths]

    def groups(self, *, forward_cost: float, max_tokens: int) -> list[tuple[int, list[Item]]]:
        """Those of `group_by_length`."""
        cuts = _cheapest_cuts(self._lengths, self._rows, forward_cost, max_tokens)
        return [
            (self._lengths[end - 1], [item for items in self._items[start:end] for item in items])
            for start, end in cuts
        ]


def _cheapest_cuts(
    lengths: Sequence[int], rows: Sequence[int], forward_cost: float, max_tokens: int
) -> list[tuple[int, int]]:
    """(start, end) of consecutive groups of the rising lengths, by dynamic programming over their ends."""
    best, starts = [0.0], [0]
    for end in range(1, len(lengths) + 1):
        options = []
        count = 0
        for start in range(end - 1, -1, -1):
            count += rows[start]
            tokens = count * lengths[end - 1]
            options.append((best[start] + tokens + forward_cost * max(1.0, tokens / max_tokens), start))
        cost, start = min(options)
        best.append(cost)
        starts.append(start)
    cuts = []
    end = len(lengths)
    while end > 0:
        cuts.append((starts[end], end))
        end = starts[end]
    return cuts[::-1]
