"""`generate`: answers token by token, for rows of many adapters in one batch.

Rows of bases whose layers are not of one kind are batched by equal length, with the model's own cache.
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from portal.bases.base import Base
from portal.generation.continuous import end_continuously
from portal.generation.decoder import Answer, Decoder, Request, Row, Sampling
from portal.hypernet import Factors
from portal.messages import refusal

MAX_ROWS, MAX_POSITIONS = 128, 16384
"""Rows of a batch, and positions that all of them may have together, where nothing else is said."""


def generate(
    base: Base,
    requests: Sequence[Request],
    factors: Factors,
    scaling: float,
    *,
    sampling: Sampling | None = None,
    max_rows: int | None = None,
) -> Iterator[tuple[int, Answer]]:
    """The number of each request and its answer, in the order in which they end.

    `factors` are of all slots that requests name, and may be empty where none does. Texts are as the
    tokenizer decodes tokens, without special ones. Which rows share a batch changes logits by rounding only,
    and no draw. ValueError, before anything runs, for a slot that there is not, and for a prompt and answer
    that the base has no room for.
    """
    _check(base, requests, factors)
    decoder = Decoder(base, factors, scaling, sampling or Sampling())
    return _answers(decoder, requests, max_rows or usual_rows(requests))


def usual_rows(requests: Sequence[Request]) -> int:
    """How many of these rows share a batch where nothing else is said."""
    return rows_at_once(max((len(each.prompt) + each.max_new_tokens for each in requests), default=1))


def rows_at_once(positions: int) -> int:
    """The same for rows of which the longest has so many positions, of its prompt and of its answer."""
    return max(1, min(MAX_ROWS, MAX_POSITIONS // positions))


def _answers(decoder: Decoder, requests: Sequence[Request], max_rows: int) -> Iterator[tuple[int, Answer]]:
    rows = [Row(number, request) for number, request in enumerate(requests)]
    if not rows:
        return
    base = decoder.base
    continuous = base.takes_branches and base.text_config.model_type not in WITHOUT_CACHE
    for row in (end_continuously if continuous else end_by_length)(decoder, rows, max_rows=max_rows):
        answer = decoder.answer(row)
        assert answer is not None
        yield row.number, answer


def _check(base: Base, requests: Sequence[Request], factors: Factors) -> None:
    num_slots = len(next(iter(factors.values()))[0]) if factors else 0
    for number, request in enumerate(requests):
        if request.slot is not None and not 0 <= request.slot < num_slots:
            raise ValueError(f"request {number}: slot {request.slot} is outside 0..{num_slots - 1}")
        if (said := refusal(partial(check_room, base, request))) is not None:
            raise ValueError(f"request {number}: {said}")


def check_room(base: Base, request: Request) -> None:
    """ValueError for a prompt and answer that the base has no room for."""
    room = getattr(base.text_config, "max_position_embeddings", None)
    if room is not None and len(request.prompt) + request.max_new_tokens > room:
        raise ValueError(
            f"base {base.name!r} reads at most {room} tokens; the prompt has {len(request.prompt)}, and its "
            f"answer may have {request.max_new_tokens}"
        )


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
