"""A checkpoint writer is killed at any moment: what it acknowledged can be read, half a one never is."""

import multiprocessing
import os
import random
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from portal.storage.checkpoint import check_checkpoints, load_latest, save_checkpoint
from tests.support.counts import times

pytestmark = pytest.mark.slow

KILLS = times(10, nightly=100)


def write_without_end(folder: Path, first: int, acknowledge: Connection) -> None:
    """Write checkpoints whose every number is their sequence, and acknowledge each once it is written."""
    sequence = first
    while True:
        tensors = {"weights": torch.full((20_000,), float(sequence)), "moments": torch.full((7,), sequence)}
        save_checkpoint(folder, sequence, tensors, {"sequence": sequence})
        acknowledge.send(sequence)
        sequence += 1


def test_no_kill_leaves_an_unreadable_or_loses_an_acknowledged_checkpoint(tmp_path: Path) -> None:
    moments = random.Random(0)
    sequence, inside = 0, 0
    for _ in range(KILLS):
        ours, theirs = multiprocessing.Pipe(duplex=False)
        writer = multiprocessing.get_context("fork").Process(
            target=write_without_end, args=(tmp_path, sequence + 1, theirs)
        )
        writer.start()
        theirs.close()
        acknowledged = sequence
        for _ in range(moments.randrange(4)):  # so many are written, however slow the machine is
            acknowledged = ours.recv()
        time.sleep(moments.uniform(0.0, 0.01))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        try:
            while ours.poll():
                acknowledged = ours.recv()
        except EOFError:
            pass
        inside += any(tmp_path.glob(".*.tmp"))

        found = load_latest(tmp_path)

        assert check_checkpoints(tmp_path) == []
        assert (found.sequence if found else 0) >= acknowledged
        if found is not None:
            assert found.meta == {"sequence": found.sequence}
            assert torch.equal(found.tensors["weights"], torch.full((20_000,), float(found.sequence)))
            sequence = found.sequence
    assert sequence > KILLS
    assert KILLS < 100 or inside > KILLS / 20  # that many writers were in the middle of one
