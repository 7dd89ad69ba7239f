"""Streams: while Ray works, whatever it prints goes to a log file, and the console keeps the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

_STDOUT, _STDERR = 1, 2


@contextmanager
def streams_to(log: Path, console: Console) -> Iterator[None]:
    """Standard output and error of this process, and of those it starts, are appended to `log` in the block.

    `console` still writes to where it wrote before.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    saved = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    own = console.file
    number = _number_of(own)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        for stream in saved:
            os.dup2(file.fileno(), stream)
    if number in saved:
        console.file = os.fdopen(os.dup(saved[number]), "w", buffering=1)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in saved.items():
            os.dup2(copy, stream)
            os.close(copy)
        if number in saved:
            console.file.close()
            console.file = own


def _number_of(file: object) -> int | None:
    """The descriptor behind a stream; None where there is none."""
    try:
        return file.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
