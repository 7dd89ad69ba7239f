"""`AnswerJournal`: answers of an evaluation that is under way, kept so that it goes on after an interruption.

Answers lie by the digest of all that they depend on, in pieces, of which one is written every few seconds.
What an evaluation finds there is what it would write itself; the rows that are left share smaller batches,
which changes logits by rounding only.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from portal.bases.base import Base
from portal.generation.request import Answer, Request
from portal.hypernet import Factors
from portal.storage.atomic import write_bytes_atomic
from portal.storage.paths import Folder, matching

PIECE_S = 10.0
"""Seconds between two pieces: an interruption costs the answers of as many at most."""
_FORMAT = 1


class AnswerJournal:
    """Below `folder`; `check_permit` is called before a piece is written, and raises where it must not be.

    What lies there when this is made was left by an interruption; an evaluation looks for its own among that.
    """

    def __init__(self, folder: Folder, check_permit: Callable[[], None] = lambda: None) -> None:
        self._folder, self._check_permit = folder, check_permit
        self._left = {each.name for each in matching(folder, "*")}

    def open(
        self, base: Base, requests: Sequence[Request], factors: Factors, scaling: float
    ) -> "OpenJournal":
        """For greedy answers to these requests, with these adapters."""
        opened = OpenJournal(self._folder, self._check_permit, base, requests, factors, scaling)
        if self._left and opened.key in self._left:
            opened.read()
        return opened


@dataclass
class OpenJournal:
    """`answers` are those so far, by the numbers of their requests."""

    _folder: Folder
    _check_permit: Callable[[], None]
    _base: Base
    _requests: Sequence[Request]
    _factors: Factors
    _scaling: float
    answers: dict[int, Answer] = field(default_factory=dict)
    _unwritten: dict[int, Answer] = field(default_factory=dict)
    _written_at: float = field(default_factory=time.monotonic)
    _has_pieces: bool = False

    @cached_property
    def key(self) -> str:
        """Digest of base, requests and adapters."""
        base = self._base
        told: list[Any] = [_FORMAT, base.name, base.revision, str(base.model.dtype), base.device.type]
        told += [self._scaling, [_plain(each) for each in self._requests]]
        digest = hashlib.sha256(json.dumps(told).encode())
        for name, pair in sorted(self._factors.items(), key=lambda item: str(item[0])):
            digest.update(str(name).encode())
            for tensor in pair:
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:32]

    def read(self) -> None:
        """Take the answers that an interrupted evaluation has left."""
        for piece in matching(self._folder / self.key, "*.json"):
            for number, tokens, text, reason in json.loads(piece.read_bytes()):
                self.answers[number] = Answer(tuple(tokens), text, reason)
        self._has_pieces = bool(self.answers)

    def add(self, number: int, answer: Answer) -> None:
        """Note an answer; it is written with others."""
        self.answers[number] = self._unwritten[number] = answer
        if time.monotonic() - self._written_at >= PIECE_S:
            self._write()

    def close(self) -> None:
        """Write what is not written; nothing where the whole took no longer than a piece."""
        if self._has_pieces and self._unwritten:
            self._write()

    def _write(self) -> None:
        piece = [[number, each.tokens, each.text, each.reason] for number, each in self._unwritten.items()]
        self._check_permit()
        path = self._folder / self.key / f"{len(self.answers):08d}.json"
        write_bytes_atomic(path, json.dumps(piece).encode())
        self._unwritten, self._has_pieces, self._written_at = {}, True, time.monotonic()


def _plain(request: Request) -> list[Any]:
    return [
        request.prompt, request.slot, request.max_new_tokens, request.stop, sorted(request.ends),
    ]  # fmt: skip
