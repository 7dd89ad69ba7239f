"""Continuous batching: a row that has ended makes room for the next; for bases that attend by masks alone."""

from collections.abc import Iterator, Sequence

import torch

from portal.device import to_device
from portal.forward.attention_masks import causal_masks
from portal.forward.microbatch import MAX_FORWARD_TOKENS, group_by_length
from portal.generation.decoder import Decoder, Row
from portal.generation.row_cache import RowCache

_EXTENT = 32
"""Positions that a batch sees are a multiple of so many."""
_JOINING = 8
"""One in so many places is free before others join, where rows wait: each forward that reads prompts reads
several."""


def end_continuously(decoder: Decoder, rows: Sequence[Row], *, max_rows: int) -> Iterator[Row]:
    """The rows as they end; those with the longest prompts start first.

    Rows that start together have places by slot, and are read in forwards of like lengths.
    """
    waiting = sorted(rows, key=lambda row: row.length)
    most = max(row.length + row.request.max_new_tokens for row in rows)
    cache = RowCache(decoder.base.text_config, min(max_rows, len(rows)), most)
    live: list[Row] = []
    while live or waiting:
        ended: list[Row] = []
        if joins := num_joining(len(live), len(waiting), max_rows):
            joining = [waiting.pop() for _ in range(joins)]
            joining.sort(key=lambda row: -1 if row.request.slot is None else row.request.slot)
            ended = _read(decoder, joining, cache, first=len(live))
            live += joining
        else:
            with decoder.adapted(live):
                while not ended:
                    ended = _continue(decoder, live, cache)
        yield from ended
        _leave(live, ended, cache)


def num_joining(live: int, waiting: int, places: int) -> int:
    """How many of the rows that wait are read next, where so many are at work; 0: these go on."""
    free = places - live
    return min(free, waiting) if free >= places / _JOINING or not live else 0


def _read(decoder: Decoder, joining: list[Row], cache: RowCache, *, first: int) -> list[Row]:
    """Read the prompts of rows that join at the places from `first` on."""
    items = ((place, row.length, 1) for place, row in enumerate(joining))
    ended: list[Row] = []
    for _, places in group_by_length(items, forward_cost=decoder.forward_cost, max_tokens=MAX_FORWARD_TOKENS):
        places.sort()  # by slot
        rows = [joining[place] for place in places]
        length = max(row.length for row in rows)
        ids_NT = torch.tensor([row.ids + [0] * (length - row.length) for row in rows])
        kept_N = torch.tensor([index * length + row.length - 1 for index, row in enumerate(rows)])
        masks = causal_masks(decoder.base.text_config, length, decoder.base.device)
        cache.read_rows(to_device(torch.tensor(places) + first, decoder.base.device))
        inputs = {"attention_mask": masks, "cache": cache, "use_cache": True}
        with decoder.adapted(rows):
            ended += decoder.advance(rows, ids_NT, kept_N, inputs)
    return ended


def _continue(decoder: Decoder, rows: list[Row], cache: RowCache) -> list[Row]:
    """Read the last token of every row."""
    position_N = torch.tensor([row.length - 1 for row in rows]).to(decoder.base.device)
    longest = max(row.length for row in rows)
    masks = cache.write_tokens(position_N, min(-(-longest // _EXTENT) * _EXTENT, cache.length))
    ids_N1 = torch.tensor([row.tokens[-1:] for row in rows])
    inputs = {"attention_mask": masks, "cache": cache, "use_cache": True}
    return decoder.advance(
        rows, ids_N1, torch.arange(len(rows)), inputs | {"position_ids": position_N[:, None]}
    )


def _leave(live: list[Row], ended: Sequence[Row], cache: RowCache) -> None:
    """Take out the rows that have ended; the last rows get their places."""
    for row in ended:
        place, last = live.index(row), live.pop()
        if last is not row:
            cache.move(len(live), place)
            live[place] = last
