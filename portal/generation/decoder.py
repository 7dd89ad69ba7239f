"""`Decoder`: a base with the adapters of several slots; runs rows, chooses their tokens, sees answers end."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.forward.adapter_hooks import RowAdapters
from portal.forward.microbatch import launch_cost
from portal.forward.output_head import position_logits
from portal.generation.request import Answer, Request
from portal.generation.sampling import Sampling
from portal.hypernet import Factors


@dataclass(eq=False)
class Row:
    """A request at work: its number, and the tokens that its answer has so far."""

    number: int
    request: Request
    tokens: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """The prompt and what was written so far."""
        return [*self.request.prompt, *self.tokens]

    @property
    def length(self) -> int:
        """How many those are."""
        return len(self.request.prompt) + len(self.tokens)


class Decoder:
    """`factors` are of all slots that requests name; without any, no request names a slot."""

    def __init__(self, base: Base, factors: Factors, scaling: float, sampling: Sampling) -> None:
        self.base, self._sampling = base, sampling
        self._adapters = RowAdapters(base, factors, scaling)
        self._ends = end_tokens(base)
        self.forward_cost = launch_cost(base, len({group.module for group in factors})).forward
        """What a forward costs beside its tokens, in tokens."""

    @contextmanager
    def adapted(self, rows: Sequence[Row]) -> Iterator[None]:
        """In the block the base has the rows' adapters: its forwards are of these rows in this order."""
        with torch.inference_mode(), self._adapters.active([row.request.slot for row in rows]):
            yield

    def advance(
        self, rows: Sequence[Row], ids_NT: Tensor, kept_N: Tensor, inputs: Mapping[str, Any]
    ) -> list[Row]:
        """Run the tokens, (N, T), give each row the one that follows position `kept_N` of the flattened ones,
        and return the rows that have ended. Within `adapted`; `inputs` are further ones of the forward.
        """
        logits_NV = position_logits(self.base.model, ids_NT.to(self.base.device), kept_N, **inputs)
        numbers, steps = [row.number for row in rows], [len(row.tokens) for row in rows]
        for row, token in zip(rows, self._sampling.choose(logits_NV, numbers, steps), strict=True):
            row.tokens.append(token)
        return [row for row in rows if self.answer(row) is not None]

    def answer(self, row: Row) -> Answer | None:
        """The row's answer; None while it goes on."""
        tokens, request = tuple(row.tokens), row.request
        if tokens[-1] in self._ends or tokens[-1] in request.ends:
            return Answer(tokens, self._text(tokens[:-1]), "end")
        if request.stop:
            text = self._text(tokens)
            places = [place for stop in request.stop if (place := text.find(stop)) >= 0]
            if places:
                return Answer(tokens, text[: min(places)], "stop")
        if len(tokens) == request.max_new_tokens:
            return Answer(tokens, self._text(tokens), "length")
        return None

    def _text(self, tokens: Sequence[int]) -> str:
        text = self.base.tokenizer.decode(list(tokens), skip_special_tokens=True)
        assert isinstance(text, str)
        return text


def end_tokens(base: Base) -> frozenset[int]:
    """The tokens that end an answer: those of the base's generation config, its config and its tokenizer."""
    found: set[int] = set()
    for holder in (base.model.generation_config, base.text_config, base.tokenizer):
        value = getattr(holder, "eos_token_id", None)
        found |= set(value) if isinstance(value, list | tuple) else {value} if value is not None else set()
    return frozenset(found)
