"""`Request` and `Answer`: what is asked of a base, and what it wrote."""

from dataclasses import dataclass
from typing import Literal

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
