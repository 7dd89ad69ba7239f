"""Packs on a base of a real shape: time, tokens, launches and memory of a step, and what is between two."""

import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.checkpoints import has_room, tensors_of, time_checkpoint
from portal.device import wait_for_device
from portal.training.pack import Pack
from sweeps.gpu_check.shape import LENGTHS, ShapeWorld
from sweeps.gpu_check.speed import ADAPTED, time_scoring, work_of
from sweeps.planning.cost_model import forward_tokens, peak_memory, step_seconds
from sweeps.planning.devices import Device
from sweeps.worker.pack_checkpoint import CheckpointWriter

LEARNERS = {"cuda": (1, 3, 8, 16), "cpu": (1, 3)}
_STEPS = {"cuda": 30, "cpu": 3}
_WARM_UP, _CHECKPOINTS = 3, 3
_SCORED_TASKS = {"cuda": len(LENGTHS), "cpu": 2}


@dataclass(frozen=True)
class Point:
    """A pack of hypernets of all tasks on one base.

    A step takes `step_s`, `predicted_s` by the forecast; it has so many real tokens, tokens with padding,
    forwards, and launches of kernels, which keep the device busy for the share `busy`. On a CPU launches are
    calls of operations. Memory is the most that tensors had and what a plan expects of that; None on a CPU.
    Training stops for `stop_s` while a checkpoint of so many bytes is copied, which is written in `write_s`.
    One learner's adapters score `scored_rows` in `scoring_s`.
    """

    shape: str
    adapted: str
    learners: int
    step_s: float
    predicted_s: float
    real_tokens: float
    padded_tokens: float
    forwards: float
    launches: int
    busy: float
    peak_bytes: float | None
    predicted_bytes: float
    checkpoint_bytes: int
    stop_s: float | None  # None: the disk had no room
    write_s: float | None
    scored_rows: int
    scoring_s: float


def measure_packs(world: ShapeWorld, device: Device, out: Path) -> Iterator[Point]:
    """Packs of fewer and more learners and modules, one after another, as far as the memory goes.

    Checkpoints are written below `out`, and removed.
    """
    kind = world.base.device.type
    for adapted, modules in ADAPTED.items():
        for count in LEARNERS[kind]:
            runs, works = world.runs(modules, count), [work_of(world)] * count
            if peak_memory(runs, works, device) <= device.budget_bytes:
                limits = forward_tokens(runs, works, device)
                name = world.base.name
                predicted_s = step_seconds(runs, works, name, device, max_tokens=limits[name])
                predicted_bytes = peak_memory(runs, works, device, max_tokens=limits)
                pack = world.pack(runs, limits)
                yield _measure(
                    world, pack, adapted, out, predicted_s=predicted_s, predicted_bytes=predicted_bytes
                )


def _measure(
    world: ShapeWorld, pack: Pack, adapted: str, out: Path, *, predicted_s: float, predicted_bytes: float
) -> Point:
    on_gpu = world.base.device.type == "cuda"
    steps = _STEPS[world.base.device.type]
    for _ in range(_WARM_UP):
        pack.step()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    pack.sync_metrics()
    tokens_before = _real_tokens(pack)
    with _forwards(world) as sizes:
        wait_for_device()
        started = time.perf_counter()
        for _ in range(steps):
            pack.step()
        wait_for_device()
        step_s = (time.perf_counter() - started) / steps
    peak_bytes = float(torch.cuda.max_memory_allocated()) if on_gpu else None
    real = _real_tokens(pack) - tokens_before
    launches, busy = _profiled(pack, on_gpu=on_gpu)
    checkpoint_bytes, stop_s, write_s = _checkpoint(pack, out)
    scored, scoring_s = _scoring(world, pack)
    return Point(
        shape=world.base.name,
        adapted=adapted,
        learners=len(pack.learners),
        step_s=step_s,
        predicted_s=predicted_s,
        real_tokens=real / steps,
        padded_tokens=sum(sizes) / steps,
        forwards=len(sizes) / steps,
        launches=launches,
        busy=busy,
        peak_bytes=peak_bytes,
        predicted_bytes=predicted_bytes,
        checkpoint_bytes=checkpoint_bytes,
        stop_s=stop_s,
        write_s=write_s,
        scored_rows=scored,
        scoring_s=scoring_s,
    )


def _real_tokens(pack: Pack) -> int:
    """Tokens that all learners have been trained on so far, without padding."""
    return sum(learner.train_tokens for learner in pack.learners)


@contextmanager
def _forwards(world: ShapeWorld) -> Iterator[list[int]]:
    """Within the block the rows x positions of every forward of the base are listed."""
    sizes: list[int] = []
    embeddings = world.base.model.get_input_embeddings()  # the model is called for every chunk of logits
    hook = embeddings.register_forward_pre_hook(lambda _module, args: sizes.append(args[0].numel()))
    try:
        yield sizes
    finally:
        hook.remove()


def _profiled(pack: Pack, *, on_gpu: bool) -> tuple[int, float]:
    """A step's launches, and the share of its time in which the device works on any of them.

    The profiler slows the host, not the kernels: on a GPU their time is held to that of the same step's
    without it.
    """
    pack.sync_metrics()
    began = [learner.step for learner in pack.learners]

    def step() -> float:
        for learner, number in zip(pack.learners, began, strict=True):
            learner.step = number
        wait_for_device()
        started = time.perf_counter()
        pack.step()
        wait_for_device()
        return time.perf_counter() - started

    step_s = step()
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as profiler:
        profiled_s = step()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if (_is_kernel(event) if on_gpu else event.cpu_parent is None)
    ]
    return len(spans), 1e-6 * covered(spans) / (step_s if on_gpu else profiled_s)


def _is_kernel(event: Any) -> bool:
    """Whether an event of the profiler is work of the GPU, and not a name that spans some of it."""
    return event.device_type == DeviceType.CUDA and not event.is_user_annotation


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """How much of the time line lies in at least one of the spans (start, end)."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _checkpoint(pack: Pack, out: Path) -> tuple[int, float | None, float | None]:
    """A checkpoint's bytes, seconds for which training stops for it, and those that it takes; medians.

    None where the disk of `out` has no room for them.
    """
    tensors = tensors_of(pack)
    num_bytes = sum(each.nbytes for each in tensors.values())
    if not has_room(out, num_bytes):
        return num_bytes, None, None
    with tempfile.TemporaryDirectory(prefix="portal-", dir=out) as folder:
        writer = CheckpointWriter(Path(folder))
        times = [time_checkpoint(writer, sequence, tensors) for sequence in range(_CHECKPOINTS)]
    stop_s, write_s = map(statistics.median, zip(*times, strict=True))
    return num_bytes, stop_s, write_s


def _scoring(world: ShapeWorld, pack: Pack) -> tuple[int, float]:
    """Rows of some tasks that one learner scores in both splits, and the seconds for them."""
    learner = pack.learners[0]
    found, seconds = time_scoring(world, learner, learner.tasks[: _SCORED_TASKS[world.base.device.type]])
    return len(found.predictions), seconds
