"""`RowCache`: keys and values of rows of unlike length, each from position 0 on, for attention by masks.

A row's place can be given to another row at any time: what the old one left is never seen, for a mask shows a
row its own positions only. Shape letters: N rows of a forward, B places, H heads, T positions, D head width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, PretrainedConfig
from transformers.cache_utils import CacheLayerMixin

from portal.bases.layer_kinds import FULL, SLIDING, layer_kinds, window_of


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
        back_NT = position_N[:, None] - index_T
        full = (back_NT >= 0)[:, None, None]
        window = window_of(self._config)
        near = full if window is None else full & (back_NT < window)[:, None, None]
        kinds = layer_kinds(self._config)
        if kinds is None:
            return near
        return {FULL: full, SLIDING: near} if SLIDING in kinds else full

    def move(self, source: int, target: int) -> None:
        """Give the row at `source` the place `target`."""
        for layer in self.layers:
            layer.move(source, target)
