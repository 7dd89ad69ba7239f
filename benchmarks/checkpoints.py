"""How long training stops for a checkpoint, and how fast it goes on while one is written."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from torch import Tensor

from benchmarks.lora import BATCH, EVERYTHING, make_pack
from benchmarks.sample import as_table, draw, task_names
from portal.bases.base import load_base
from portal.device import wait_for_device
from portal.training.pack import Pack
from sweeps.worker.job import CHECKPOINT_RATIO, CHECKPOINT_S
from sweeps.worker.pack_checkpoint import CheckpointWriter

BASE, SUITE = "mini-qwen3-m", "mini"
SIZES = (1, 3, 8)
TARGET = 0.02
"""Of the time that training may stop for checkpoints at the default interval."""
_TURNS = 5
ROOM = 3
"""A disk must have room for so many: the two newest are kept, beside the one that is written."""


@dataclass(frozen=True)
class Point:
    """A pack of `size` learners whose checkpoint has so many bytes.

    Training stops for `stop_s`, then goes on while the rest of `write_s` is spent; a step takes `step_s`,
    and `beside_s` meanwhile.
    """

    size: int
    bytes: int
    stop_s: float
    write_s: float
    step_s: float
    beside_s: float

    @property
    def interval_s(self) -> float:
        """Seconds between two checkpoints, unless the user wants others."""
        return max(CHECKPOINT_S, CHECKPOINT_RATIO * self.write_s)

    @property
    def stopped(self) -> float:
        """The share of the time for which training stops."""
        return self.stop_s / self.interval_s


def checkpoints() -> list[Point]:
    """Packs of LoRA learners of all modules and every task, in so many seeds."""
    with tempfile.TemporaryDirectory(prefix="portal-") as folder:
        return [_measure(size, Path(folder, str(size))) for size in SIZES]


def tensors_of(pack: Pack) -> dict[str, Tensor]:
    """All that a checkpoint of the pack holds."""
    return {
        f"{learner.key}/{name}": tensor
        for learner in pack.learners
        for name, tensor in learner.state()[0].items()
    }


def has_room(out: Path, num_bytes: int) -> bool:
    """Whether the disk of `out` has room for checkpoints of so many bytes."""
    return shutil.disk_usage(out).free >= ROOM * num_bytes


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


def _measure(size: int, folder: Path) -> Point:
    pack = _pack(size)
    tensors = tensors_of(pack)
    writer = CheckpointWriter(folder)
    stops, writes, steps, beside = [], [], [], []
    for _ in range(2):
        pack.step()
    for sequence in range(_TURNS):
        stops.append(_seconds(partial(writer.start, sequence, tensors, {}, lambda: None)))
        meanwhile = [_seconds(pack.step)]
        while writer.is_writing:
            meanwhile.append(_seconds(pack.step))
        writer.wait()
        writes.append(writer.seconds)
        beside.append(median(meanwhile))
        steps.append(median(_seconds(pack.step) for _ in range(3)))
    total = sum(each.nbytes for each in tensors.values())
    return Point(size, total, median(stops), median(writes), median(steps), median(beside))


def _pack(size: int) -> Pack:
    base = load_base(BASE)
    examples = draw(SUITE, BATCH, seed=0)
    return make_pack(base, as_table(examples, base), task_names(examples), EVERYTHING, seeds=size)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
