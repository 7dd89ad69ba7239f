"""Checkpoints of a learner on a base of a real shape: how long training stops for one, and the disk takes."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from portal.device import wait_for_device
from portal.training.pack import Pack
from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.worker.job import CHECKPOINT_RATIO, CHECKPOINT_S
from sweeps.worker.pack_checkpoint import CheckpointWriter

BOUND = 0.02
"""Of the time of training: what it stops for."""
_TURNS = 2
_ROOM = 3
"""A disk must have room for so many: the two newest are kept, beside the one that is written."""


def tensors_of(pack: Pack) -> dict[str, Tensor]:
    """All that a checkpoint of the pack holds."""
    return {
        f"{learner.key}/{name}": tensor
        for learner in pack.learners
        for name, tensor in learner.state()[0].items()
    }


def has_room(out: Path, num_bytes: int) -> bool:
    """Whether the disk of `out` has room for checkpoints of so many bytes."""
    return shutil.disk_usage(out).free >= _ROOM * num_bytes


def time_checkpoint(
    writer: CheckpointWriter, sequence: int, tensors: Mapping[str, Tensor]
) -> tuple[float, float]:
    """Seconds for which training stops for a checkpoint, and those until it is on the disk."""
    wait_for_device()
    started = time.perf_counter()
    writer.start(sequence, tensors, {}, lambda: None)
    wait_for_device()
    stop_s = time.perf_counter() - started
    writer.wait()
    return stop_s, writer.seconds


def check_checkpoints(pack: Pack, out: Path, what: str) -> Iterator[Finding]:
    """Lines of the pack's checkpoint, which is written below `out` and removed."""
    tensors = tensors_of(pack)
    num_bytes = sum(each.nbytes for each in tensors.values())
    line = f"{what}: a checkpoint of {num_bytes / 2**20:.0f} MiB"
    if not has_room(out, num_bytes):
        yield skipped(line, f"no room for {_ROOM} of them in {out}")
        return
    with tempfile.TemporaryDirectory(prefix=".gpu-check-", dir=out) as folder:
        writer = CheckpointWriter(Path(folder))
        for turn in range(_TURNS):  # in the first one page-locked memory is made
            stop_s, write_s = time_checkpoint(writer, turn, tensors)
    yield Finding("PASS", f"{line}, until it is on the disk", write_s, "s")
    share = stop_s / max(CHECKPOINT_S, CHECKPOINT_RATIO * write_s)
    note = "copies to this machine's memory are slow"
    yield at_most(f"{line}, share of the time that training stops", share, BOUND, otherwise="WARN", note=note)
