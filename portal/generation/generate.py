"""`generate`: answers token by token, for rows of many adapters in one batch."""

from collections.abc import Iterator, Sequence
from functools import partial

from portal.bases.base import Base
from portal.generation.continuous import end_continuously
from portal.generation.decoder import Decoder, Row
from portal.generation.own_cache import WITHOUT_CACHE, end_by_length
from portal.generation.request import Answer, Request
from portal.generation.sampling import Sampling
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
