"""`Judged`: written answers, generated with the rows of all adapters in one batch, and judged.

`AnswerJournal` keeps the answers of an evaluation that is under way, so that it goes on after an
interruption. They lie by the digest of all that they depend on, in pieces, of which one is written every
few seconds. What an evaluation finds there is what it would write itself; the rows that are left share
smaller batches, which changes logits by rounding only.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from portal.answers import AnswerConfig
from portal.bases.base import Base
from portal.data.token_rows import TokenRow, position_limit
from portal.device import is_out_of_memory, release_memory, usable_cores
from portal.evaluate.code_sandbox import SandboxError, end_with
from portal.evaluate.text_metrics import Measure, find_metric, judged_part, waits_for_programs
from portal.generation.decoder import Answer, Reason, Request
from portal.generation.generate import generate, usual_rows
from portal.hypernet import Factors
from portal.messages import one_line
from portal.storage.atomic import write_bytes_atomic
from portal.storage.paths import Folder, matching

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What was written to a row: its text, how many tokens that took, why it ended, and what it is worth.

    `value` is from 0 to 1; an answer whose metric failed is worth 0 and has the `error`.
    """

    text: str
    num_tokens: int
    reason: Reason
    value: float
    error: str | None = None


@dataclass(frozen=True)
class ToWrite:
    """Rows of one task to be answered, the slot of its adapter (None: none), and how answers are judged."""

    rows: Sequence[TokenRow]
    slot: int | None
    answers: AnswerConfig


def write_answers(
    base: Base,
    parts: Sequence[ToWrite],
    factors: Factors,
    scaling: float,
    *,
    journal: "AnswerJournal | None" = None,
) -> list[list[Judged]]:
    """The judged greedy answers to the rows of every part, in their order; all share batches.

    An answer ends where the row's own does, too, and where the base has room for no more. Answers that the
    `journal` has are not written again. Programs are judged while others are written. ValueError, before
    anything is written, for a metric that there is not; SandboxError where a program could not be judged.
    """
    measures = [find_metric(part.answers.metric) for part in parts]
    places = [(index, place) for index, part in enumerate(parts) for place in range(len(part.rows))]
    room = position_limit(base.text_config)
    requests = [_request(parts[index], parts[index].rows[place], room) for index, place in places]
    found: list[dict[int, Judged]] = [{} for _ in parts]
    waiting: list[tuple[int, int, Future[Judged]]] = []
    interrupted = threading.Event()
    with ThreadPoolExecutor(usable_cores(), initializer=end_with, initargs=(interrupted,)) as pool:
        try:
            for number, answer in _answers(base, requests, factors, scaling, journal):
                index, place = places[number]
                asked = parts[index].rows[place], answer, parts[index].answers, measures[index]
                if waits_for_programs(measures[index]):
                    waiting.append((index, place, pool.submit(_judge, *asked)))
                else:
                    found[index][place] = _judge(*asked)
            for index, place, judging in waiting:
                found[index][place] = judging.result()
        except BaseException:
            interrupted.set()  # else the block waits until all programs have ended
            raise
    judged = [[each[place] for place in range(len(each))] for each in found]
    for part, own in zip(parts, judged, strict=True):
        _warn(part, own)
    return judged


def _request(part: ToWrite, row: TokenRow, room: int | None) -> Request:
    most = part.answers.max_new_tokens
    if room is not None:
        most = min(most, room - len(row.prompt))  # its own answer fits
    return Request(row.prompt, part.slot, most, part.answers.stop, frozenset(row.gold_ids[-1:]))


def _answers(
    base: Base, requests: Sequence[Request], factors: Factors, scaling: float, journal: "AnswerJournal | None"
) -> Iterator[tuple[int, Answer]]:
    """Those of the journal, then the others as they end."""
    if journal is None or not requests:
        yield from _new_answers(base, dict(enumerate(requests)), factors, scaling)
        return
    opened = journal.open(base, requests, factors, scaling)
    if opened.answers:
        _log.info(
            "base %s: %d of %d answers were written before the interruption",
            base.name, len(opened.answers), len(requests),
        )  # fmt: skip
    yield from list(opened.answers.items())
    left = {number: each for number, each in enumerate(requests) if number not in opened.answers}
    for number, answer in _new_answers(base, left, factors, scaling):
        opened.add(number, answer)
        yield number, answer
    opened.close()


def _new_answers(
    base: Base, left: dict[int, Request], factors: Factors, scaling: float
) -> Iterator[tuple[int, Answer]]:
    """The answers as they end; where memory runs out, the rest by half as many rows at a time."""
    most = min(usual_rows(list(left.values())), len(left))
    while left:
        numbers = list(left)
        try:
            for place, answer in generate(base, list(left.values()), factors, scaling, max_rows=most):
                del left[numbers[place]]
                yield numbers[place], answer
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or most == 1:
                raise
        else:
            return
        most = max(1, most // 2)
        release_memory()
        _log.warning("base %s: out of memory, answers of %d rows at a time now", base.name, most)


def _judge(row: TokenRow, answer: Answer, answers: AnswerConfig, measure: Measure) -> Judged:
    value, error, judged = 0.0, None, judged_part(answer.text, answers.pattern)
    try:
        value = float(measure(judged, row.references))
        if not 0 <= value <= 1:
            raise ValueError(f"{value} is outside 0..1")
    except SandboxError:
        raise  # the machine's trouble, which would pass for a wrong answer
    except Exception as failure:  # a user's function: one answer must not end a run
        if is_out_of_memory(failure):  # as much the machine's trouble
            where = f"metric {answers.metric}, task {row.task!r}, example {row.id!r}"
            raise MemoryError(f"{where}: out of memory ({one_line(failure, most=200)})") from failure
        value, error = 0.0, one_line(failure, most=200)
    return Judged(answer.text, len(answer.tokens), answer.reason, value, error)


def _warn(part: ToWrite, judged: Sequence[Judged]) -> None:
    """Say where a metric has failed, whose answers count as wrong, and where most answers hit their limit."""
    cut = sum(each.reason == "length" for each in judged)
    if 2 * cut > len(judged):
        _log.warning(
            "task %s: %d of %d answers were as long as they may be, %d tokens",
            part.rows[0].task, cut, len(judged), part.answers.max_new_tokens,
        )  # fmt: skip
    failed = [(row, each) for row, each in zip(part.rows, judged, strict=True) if each.error is not None]
    if failed:
        row, first = failed[0]
        _log.warning(
            "task %s: metric %s failed on %d of %d answers, which count 0 (example %s: %s)",
            row.task, part.answers.metric, len(failed), len(judged), row.id, first.error,
        )  # fmt: skip


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
