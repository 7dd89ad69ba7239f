"""Continuous batching: a row that has ended makes room for the next; for bases that attend by masks alone.

`RowCache` holds keys and values of rows of unlike length, each from position 0 on. A row's place can be given
to another row at any time: what the old one left is never seen, for a mask shows a row its own positions
only. Shape letters: N rows of a forward, B places, H heads, T positions, D head width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PretrainedConfig
from transformers.cache_utils import CacheLayerMixin

from portal.device import to_device
from portal.forward.attention_masks import causal_masks, masks_of
from portal.forward.microbatch import MAX_FORWARD_TOKENS, group_by_length
from portal.generation.decoder import Decoder, Row

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


def _read(decoder: Decoder, joining: list[Row], cache: "RowCache", *, first: int) -> list[Row]:
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


def _continue(decoder: Decoder, rows: list[Row], cache: "RowCache") -> list[Row]:
    """Read the last token of every row."""
    position_N = torch.tensor([row.length - 1 for row in rows]).to(decoder.base.device)
    longest = max(row.length for row in rows)
    masks = cache.write_tokens(position_N, min(-(-longest // _EXTENT) * _EXTENT, cache.length))
    ids_N1 = torch.tensor([row.tokens[-1:] for row in rows])
    inputs = {"attention_mask": masks, "cache": cache, "use_cache": True}
    return decoder.advance(
        rows, ids_N1, torch.arange(len(rows)), inputs | {"position_ids": position_N[:, None]}
    )


def _leave(live: list[Row], ended: Sequence[Row], cache: "RowCache") -> None:
    """Take out the rows that have ended; the last rows get their places."""
    for row in ended:
        place, last = live.index(row), live.pop()
        if last is not row:
            cache.move(len(live), place)
            live[place] = last


@dataclass
class _Writing:
    """Where a forward's keys and values go: rows read from their start, or one token of every row on."""

    places_N: Tensor | None = None  # of the rows that are read; None: all of the first rows write one token
    position_N: Tensor | None = None
    extent: int = 0  # positions that one-token forwards see


class _RowLayer(CacheLayerMixin):
    """The keys and values of one layer, (B, H, T, D) each."""

    def __init__(self, writing: _Writing, num_places: int, length: int) -> None:
        super().__init__()
        self._writing, self._num_places, self._length = writing, num_places, length

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            each.new_zeros(self._num_places, each.shape[1], self._length, each.shape[3])
            for each in (key_states, value_states)
        )
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        writing, count = self._writing, len(key_states)
        assert self.keys is not None
        assert self.values is not None
        if writing.places_N is not None:
            places_N = writing.places_N.to(key_states.device)  # of a divided base's later layers another one
            for kept, new in ((self.keys, key_states), (self.values, value_states)):
                kept[:, :, : new.shape[2]].index_copy_(0, places_N, new)
            return key_states, value_states
        assert writing.position_N is not None
        position_N = writing.position_N.to(key_states.device)
        row_N = torch.arange(count, device=key_states.device)
        self.keys[row_N, :, position_N] = key_states[:, :, 0]
        self.values[row_N, :, position_N] = value_states[:, :, 0]
        return self.keys[:count, :, : writing.extent], self.values[:count, :, : writing.extent]

    @torch.inference_mode()
    def move(self, source: int, target: int) -> None:
        for kept in (self.keys, self.values):
            if kept is not None:
                kept[target] = kept[source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (query_length if self._writing.places_N is not None else self._writing.extent), 0

    def get_seq_length(self) -> int:
        return 0 if self._writing.places_N is not None else self._writing.extent - 1

    def get_max_length(self) -> int:
        return self._length


class RowCache(Cache):
    """Room for `num_places` rows of at most `length` positions in every layer."""

    def __init__(self, config: PretrainedConfig, num_places: int, length: int) -> None:
        self._config, self._writing, self.length = config, _Writing(), length
        super().__init__(
            [_RowLayer(self._writing, num_places, length) for _ in range(config.num_hidden_layers)]
        )

    def read_rows(self, places_N: Tensor) -> None:
        """The next forward reads rows from their start, which are to be at these places."""
        self._writing.places_N = places_N

    def write_tokens(self, position_N: Tensor, extent: int) -> Any:
        """The next forward reads one token of each of the first N places, at these positions, all below
        `extent`; its attention masks, (N, 1, 1, extent), one a kind of layer where the family has kinds.
        """
        self._writing.places_N, self._writing.position_N = None, position_N
        self._writing.extent = extent
        index_T = torch.arange(extent, device=position_N.device)
        back_N11T = (position_N[:, None] - index_T)[:, None, None]
        return masks_of(self._config, back_N11T >= 0, back_N11T)

    def move(self, source: int, target: int) -> None:
        """Give the row at `source` the place `target`."""
        for layer in self.layers:
            layer.move(source, target)
