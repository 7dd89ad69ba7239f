"""Writers of checkpoints: one that is killed while it writes loses nothing that it had written."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from portal.storage.checkpoint import load_latest, save_checkpoint
from sweeps.gpu_check.finding import Finding, at_least, at_most
from sweeps.gpu_check.world import CheckWorld

_VALUES = 2**22
"""Numbers in a checkpoint of 16 MiB, which takes a disk long enough for a kill to come meanwhile."""
_WHOLE = 2
"""Checkpoints that are written before the kill."""
_MEETING_S = 120.0
"""Seconds after which a writer that has written none is taken to hang."""
Save = Callable[[Path, int, dict[str, Tensor], dict[str, Any]], object]


def check_killed_writer(world: CheckWorld, *, save: Save = save_checkpoint) -> Iterator[Finding]:
    """A process writes checkpoints to the disk that is checked, one after another, until SIGKILL ends it."""
    with tempfile.TemporaryDirectory(prefix=".gpu-check-", dir=world.out) as name:
        written = _write_until_killed(Path(name), save)
        found = load_latest(Path(name))
    newest = 0 if found is None else found.sequence
    lost = max(0, written - newest)
    yield at_least("checkpoints that a process had written when it was killed", written, _WHOLE)
    yield at_most("checkpoints that were lost with it", lost, 0)
    if found is not None:
        wrong = int((found.tensors["values"] != newest).sum())
        yield at_most("numbers in the newest that are not those that were written", wrong, 0)


def _write_until_killed(folder: Path, save: Save) -> int:
    """How many checkpoints a process had written; it is killed in the middle of the next one."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_write_without_end, args=(folder, save, theirs), daemon=True
    )
    process.start()
    theirs.close()  # so that the other end is closed when the process is gone
    written = 0
    try:
        while written < _WHOLE:
            began = time.monotonic()
            if not ours.poll(_MEETING_S):
                return written  # its disk hangs
            written = ours.recv()
        time.sleep((time.monotonic() - began) / 2)
    except EOFError:
        pass  # it has ended of its own accord, which is seen by what it has written
    finally:
        process.kill()
        process.join(_MEETING_S)
        if process.is_alive():
            raise OSError("a process that was killed while it wrote does not end: its disk hangs")
    with suppress(EOFError):
        while True:
            written = ours.recv()
    return written


def _write_without_end(folder: Path, save: Save, acknowledge: Connection) -> None:
    """Checkpoints whose every number is their sequence, each of which is acknowledged once it is written."""
    sequence = 0
    while True:
        sequence += 1
        save(folder, sequence, {"values": torch.full((_VALUES,), float(sequence))}, {"sequence": sequence})
        acknowledge.send(sequence)
