"""`Writing`: tokens and forwards of written answers, in the batches in which `generate` takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from portal.generation.continuous import num_joining
from portal.generation.generate import rows_at_once


@dataclass(frozen=True)
class Writing:
    """Tokens of prompts that are read, tokens that are written, and the forwards that do either."""

    read: float
    written: float
    forwards: float

    @staticmethod
    def of(rows: Sequence[tuple[int, int]], positions: int, *, is_continuous: bool) -> "Writing":
        """Of rows with so many tokens in prompt and answer, of which the longest may have `positions`.

        `is_continuous` says whether rows of unlike lengths share a batch, and others join it as rows end.
        """
        count = _continuous_forwards if is_continuous else _forwards_by_length
        forwards = count(rows, rows_at_once(positions))
        return Writing(sum(prompt for prompt, _ in rows), sum(answer for _, answer in rows), forwards)


def _continuous_forwards(rows: Sequence[tuple[int, int]], places: int) -> int:
    """Forwards until all rows have ended, of which so many are at work at once.

    Those with the longest prompts start first; where some have ended, others join, in a forward that reads
    their prompts and gives each its first token.
    """
    waiting = [answer for _, answer in sorted(rows, key=lambda row: row[0])]
    live: list[int] = []  # tokens that each row at work has yet to write
    forwards = 0
    while live or waiting:
        if joins := num_joining(len(live), len(waiting), places):
            live += [answer - 1 for answer in (waiting.pop() for _ in range(joins)) if answer > 1]
            forwards += 1
        else:
            steps = min(live)
            live = [left - steps for left in live if left > steps]
            forwards += steps
    return forwards


def _forwards_by_length(rows: Sequence[tuple[int, int]], places: int) -> int:
    """The same of batches of prompts of one length, one after another."""
    forwards = 0
    for _, same in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        answers = [answer for _, answer in same]
        forwards += sum(max(answers[start : start + places]) for start in range(0, len(answers), places))
    return forwards
