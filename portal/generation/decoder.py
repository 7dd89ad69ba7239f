"""`Decoder`: a base with the adapters of several slots; it answers `Request`s, chosen by `Sampling`."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.forward.adapter_hooks import RowAdapters
from portal.forward.microbatch import launch_cost
from portal.forward.output_head import position_logits
from portal.hypernet import Factors

Reason = Literal["end", "stop", "length"]
"""Why an answer ended: an end token, a stop text, or as many tokens as it may have."""


@dataclass(frozen=True)
class Request:
    """A prompt in token ids, the slot of its adapter (None: none), and when its answer ends.

    That is with an end token, of the base or one of `ends`, before one of the texts in `stop`, or after
    `max_new_tokens`.
    ValueError for a prompt without tokens, fewer than one new token, or an empty stop text.
    """

    prompt: tuple[int, ...]
    slot: int | None
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    ends: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("the prompt has no tokens")
        if self.max_new_tokens < 1:
            raise ValueError(f"{self.max_new_tokens} new tokens: at least 1 is needed")
        if "" in self.stop:
            raise ValueError("a stop text is empty")


@dataclass(frozen=True)
class Answer:
    """The tokens that were written, with the end token, and their text without it and any stop text."""

    tokens: tuple[int, ...]
    text: str
    reason: Reason


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 is greedy: the token of the highest logit, the lowest id of several.

    Else a token is drawn from softmax(logits / temperature), of the likeliest tokens whose probabilities add
    up to `top_p` (Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration"). ValueError for a
    temperature below 0 or a `top_p` outside (0, 1].
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature {self.temperature:g} is below 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p:g} is outside (0, 1]")

    def choose(self, logits_NV: Tensor, rows: list[int], steps: list[int]) -> list[int]:
        """The next token of each row, (N, V) logits; `rows` and `steps` number its request and the token."""
        if self.temperature == 0:
            chosen: list[int] = logits_NV.argmax(-1).tolist()
            return chosen
        probs_NV = (logits_NV.double() / self.temperature).softmax(-1)
        sorted_NV, token_NV = probs_NV.sort(dim=-1, descending=True, stable=True)
        is_tail_NV = sorted_NV.cumsum(-1) - sorted_NV >= self.top_p
        probs_NV = probs_NV.masked_fill(torch.zeros_like(is_tail_NV).scatter(-1, token_NV, is_tail_NV), 0.0)
        # In the order of ids: near ties in that of probabilities would change places by rounding.
        ends_NV = probs_NV.cumsum(-1)
        draws_N = torch.tensor([self._draw(*each) for each in zip(rows, steps, strict=True)])
        wanted_N1 = draws_N.to(ends_NV)[:, None] * ends_NV[:, -1:]
        last_N1 = (ends_NV < ends_NV[:, -1:]).sum(-1, keepdim=True)
        drawn: list[int] = (ends_NV <= wanted_N1).sum(-1, keepdim=True).minimum(last_N1)[:, 0].tolist()
        return drawn

    def _draw(self, row: int, step: int) -> float:
        """A number in [0, 1) from seed, row and step."""
        digest = hashlib.sha256(f"{self.seed} {row} {step}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / 2**48


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
