"""Rows of equal length by the model's own cache, for layers of any kind; a batch shrinks as rows end."""

import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from portal.generation.decoder import Decoder, Row

WITHOUT_CACHE = frozenset({"dory"})
"""Families whose cache transformers 5.24 gets wrong beyond a window: each token reads the whole row again."""


def end_by_length(decoder: Decoder, rows: Sequence[Row], *, max_rows: int) -> Iterator[Row]:
    """The rows as they end; those of one length start together."""
    for _, group in groupby(sorted(rows, key=lambda row: row.length), key=lambda row: row.length):
        own = list(group)
        for start in range(0, len(own), max_rows):
            yield from _end(decoder, own[start : start + max_rows])


def _end(decoder: Decoder, live: list[Row]) -> Iterator[Row]:
    state = _State(decoder)
    while live:
        ended: list[Row] = []
        with decoder.adapted(live):
            while not ended:
                ended = state.advance(live)
        yield from ended
        staying = [place for place, row in enumerate(live) if row not in ended]
        live = [live[place] for place in staying]
        state.keep(staying)


class _State:
    """What the model keeps of rows that were read, and what they read next."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, base = decoder, decoder.base
        self._model, self._device = base.model, base.device
        self._has_cache = base.text_config.model_type not in WITHOUT_CACHE
        self._takes_positions = "position_ids" in inspect.signature(base.model.forward).parameters
        makes_its_own = not base.model._supports_default_dynamic_cache()
        self._cache = None if makes_its_own or not self._has_cache else DynamicCache(config=base.text_config)
        self._read = 0

    def advance(self, rows: list[Row]) -> list[Row]:
        """Give every row a token; the rows that have ended."""
        inputs: dict[str, Any] = {"use_cache": self._has_cache}
        if self._cache is not None:
            inputs["cache"] = self._cache
        ids_NT = torch.tensor([row.ids[self._read :] for row in rows])
        count, length = ids_NT.shape
        if self._takes_positions:  # a cache whose first layer keeps no tokens cannot count them
            end = self._read + length
            inputs["position_ids"] = torch.arange(self._read, end, device=self._device).expand(count, -1)
        ended = self._advance(rows, ids_NT, torch.arange(1, count + 1) * length - 1, inputs)
        if self._has_cache:
            self._read += length
        return ended

    def _advance(self, rows: list[Row], ids_NT: Tensor, kept_N: Tensor, inputs: dict[str, Any]) -> list[Row]:
        outputs: list[Any] = []
        captured = self._model.register_forward_hook(lambda _module, _args, output: outputs.append(output))
        try:
            ended = self._decoder.advance(rows, ids_NT, kept_N, inputs)
        finally:
            captured.remove()
        if self._has_cache and self._cache is None:
            self._cache = outputs[0].cache
        return ended

    def keep(self, places: list[int]) -> None:
        """Forget all rows but those at these places."""
        if self._cache is not None and places:
            self._cache.reorder_cache(torch.tensor(places, device=self._device))
