"""Which rows are trained on, which of them at step k, which are scored: pure functions of (seed, step)."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import harmonic_mean
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from portal.data.token_cache import LARGE_ROWS, MappedRows, Places
from portal.data.token_rows import TokenRow, encode_examples
from portal.tasks.example import Example

_ShortOrder = np.ndarray[Any, np.dtype[np.int16]]
_SHORT = 2048
"""Rows of a pass whose order is remembered: 4 KiB each, 64 MiB in all."""
_SUBSET, _ORDER, _EVAL, _TURN = 1, 2, 3, 4  # streams of random numbers, so that no two draws share one


def calibration_rows(rows: Sequence[TokenRow], size: int | None, seed: int) -> Sequence[TokenRow]:
    """The first `size` of a seeded permutation of a task's `rows`: size 250 contains size 125."""
    order = _generator(_SUBSET, seed, _task_of(rows)).permutation(len(rows))[:size]
    if isinstance(rows, MappedRows) and len(order) > LARGE_ROWS:
        return rows.view(order)
    return _pick(rows, order)


def evaluation_rows(rows: Sequence[TokenRow], size: int) -> tuple[TokenRow, ...]:
    """At most `size` rows to score, the same ones in every run, in the order of `rows`."""
    order = _generator(_EVAL, 0, _task_of(rows)).permutation(len(rows))
    return _pick(rows, np.sort(order[:size]))


def num_batches(num_rows: int, batch_size: int) -> int:
    """Batches in one pass over the rows; the last one may be partial."""
    return -(-num_rows // batch_size)


def balanced_sizes(batch_size: int, answer_tokens: Mapping[str, float]) -> dict[str, int]:
    """Rows of each task in a batch with which all have about as many answer tokens, one at the least.

    `answer_tokens` are those of a task's rows on average, over 0. But for rounding, all tasks together have
    as many rows as with `batch_size` of each.
    """
    shared = batch_size * harmonic_mean(list(answer_tokens.values()))
    return {task: max(1, round(shared / each)) for task, each in answer_tokens.items()}


def batch_rows(
    rows: Sequence[TokenRow], *, batch_size: int, seed: int, stream: int, step: int
) -> tuple[TokenRow, ...]:
    """The rows of batch `step`: every pass is a new seeded order, and passes follow each other without end.

    `stream` tells apart learners of the same task that should see another order (the source bases of joint
    training).
    """
    batches = num_batches(len(rows), batch_size)
    number, index = divmod(step, batches)
    pass_order = _short_pass if len(rows) <= _SHORT else _pass_order
    order = pass_order(_task_of(rows), seed, stream, number, len(rows))
    return _pick(rows, order[index * batch_size : (index + 1) * batch_size])


def _pass_order(task: str, seed: int, stream: int, number: int, num_rows: int) -> Places:
    """The order in which pass `number` takes the rows."""
    return _generator(_ORDER, seed, task, stream, number).permutation(num_rows)


@lru_cache(maxsize=16384)
def _short_pass(task: str, seed: int, stream: int, number: int, num_rows: int) -> _ShortOrder:
    """The same over few rows, remembered: most of a step's drawing would be to draw it anew."""
    return _pass_order(task, seed, stream, number, num_rows).astype(np.int16)


def turn_order(num_tasks: int, seed: int, turn: int) -> Places:
    """The order in which tasks take part in a turn, where a step has only some of them."""
    return np.random.default_rng([_TURN, seed, turn]).permutation(num_tasks)


def _task_of(rows: Sequence[TokenRow]) -> str:
    return rows.task if isinstance(rows, MappedRows) else rows[0].task


def _pick(rows: Sequence[TokenRow], order: Places | _ShortOrder) -> tuple[TokenRow, ...]:
    if isinstance(rows, MappedRows):
        return rows.take(order.astype(np.int64))
    return tuple(rows[i] for i in order)


def _generator(purpose: int, seed: int, task: str, *more: int) -> np.random.Generator:
    return np.random.default_rng([purpose, seed, zlib.crc32(task.encode()), *more])


MAX_PROMPT = 768
"""Longest prompt in tokens where none is named; longer ones lose their left end."""


def tokenize(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    split: str = "test",
    max_prompt: int = MAX_PROMPT,
    limit: int | None = None,
) -> tuple[TokenRow, ...]:
    """The examples in token ids, by id; with `limit` a fixed seeded sample of at most so many.

    ValueError, naming task and example, for one that has no tokens or no place to split prompt and answer.
    """
    rows = encode_examples(((example, split) for example in examples), tokenizer, max_prompt=max_prompt)
    rows.sort(key=lambda row: row.id)
    return evaluation_rows(rows, limit or len(rows)) if rows else ()
