"""Steps of several processes at once over one's: what lanes of a node take from each other, and each GPU."""

import math
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.synchronize import Barrier
from statistics import fmean
from threading import BrokenBarrierError
from typing import TypeVar

import torch

from portal.bases.base import load_base
from portal.config import BaseRef, DeviceKind
from sweeps.gpu_check.finding import Finding, bounded
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import seconds_per_step, work_of
from sweeps.planning.cost_model import forward_tokens, peak_memory
from sweeps.planning.devices import Device

BOUND = 1.25
"""Of a step's time beside others over that of one alone."""
LOSS_BOUNDS: dict[DeviceKind, float] = {"cpu": 1e-6, "cuda": 0.02}
"""Of what the workers' losses of the same step differ by."""
MEETING_S = 1800.0
"""Seconds after which a process that the others wait for is taken to hang."""
_SECONDS = 4.0
_MOST_STEPS = 50
_ADAPTED = ("q", "v")
_Result = TypeVar("_Result")
_barrier: Barrier | None = None  # of a worker's process: where all of them meet


@dataclass(frozen=True)
class Steps:
    """Whose steps are timed: of a LoRA hypernet on a base, with its own weights or random ones."""

    base: BaseRef
    kind: DeviceKind
    is_random: bool
    batch: int  # rows per task
    device: Device  # of a worker beside the others, whose memory limits forwards

    @staticmethod
    def of(world: ShapeWorld, device: Device, *, is_random: bool, count: int) -> "Steps":
        """Those that were timed in `world`, of so many workers at once."""
        (ref,) = world.runs(_ADAPTED, 1)[0].bases
        kind: DeviceKind = "cuda" if world.base.device.type == "cuda" else "cpu"
        return Steps(ref, kind, is_random, world.batch, device.shared_by(count))

    def fit(self, world: ShapeWorld) -> bool:
        """Whether a worker has the memory."""
        runs = world.runs(_ADAPTED, 1)
        return peak_memory(runs, [work_of(world)], self.device) <= self.device.budget_bytes


@dataclass(frozen=True)
class Times:
    """Seconds of a process's step: before the others began and after they had ended, and beside them.

    Only one of the processes has steps alone. `loss` is that of one step, the same in every process.
    """

    alone: tuple[float, ...]
    together: float
    loss: float


def check_neighbours(steps: Steps, count: int) -> tuple[tuple[Finding, Finding], float]:
    """The lines on steps of so many processes at once, and how many times as long as one's they take.

    On GPUs the slowest worker counts, which has a card of its own; on a CPU the mean, as for plans.
    """
    times = at_once(count, steps.kind, partial(step_times, steps=steps))
    alone = fmean(each for own in times for each in own.alone)
    name = f"{steps.base.name} in bf16" if steps.base.precision == "bf16" else steps.base.name
    if steps.kind == "cuda":
        slowest = max(range(count), key=lambda number: times[number].together)
        ratio, whose = times[slowest].together / alone, f"the slowest of {count} workers at once over one's"
        note = f"GPU {slowest} is slow, or CPU cores are too few for all"
    else:
        ratio, whose = fmean(own.together for own in times) / alone, f"{count} workers at once over one's"
        note = "CPU cores, or the bandwidth of memory, are too few for them"
    line = bounded(f"{name}: a step of {whose}", ratio, most=BOUND, otherwise="WARN", note=note)
    losses = [own.loss for own in times]
    apart = max(losses) - min(losses) if all(map(math.isfinite, losses)) else math.nan
    what = f"{name}: losses of the same step by {count} workers, apart"
    listed = ", ".join(f"{loss:.5g}" for loss in losses)
    bound = LOSS_BOUNDS[steps.kind]
    return (line, bounded(what, apart, most=bound, unit="nats per token", note=f"by worker: {listed}")), ratio


def step_times(number: int, *, steps: Steps) -> Times:
    """In a process of `at_once`: its times; the first one steps alone, too, twice, as the machine changes."""
    is_first = number == 0
    turn, loss = _prepare(steps)
    meet()
    before = [turn()] if is_first else []
    meet()
    together = turn()
    meet()
    after = [turn()] if is_first else []
    return Times((*before, *after), together, loss)


def _prepare(steps: Steps) -> tuple[Callable[[], float], float]:
    """What takes the same steps each time that it is called and gives the seconds per step; a step's loss.

    The loss is the second step's, whose weights the first one has changed. The steps that are timed are warm.
    """
    ref = steps.base
    if steps.is_random:
        base = random_base(ref.name, torch.device(steps.kind), precision=ref.precision)
    else:
        base = load_base(
            ref.name, device=steps.kind, revision=ref.revision, precision=ref.precision, verified=True
        )
    world = ShapeWorld(base, batch=steps.batch)
    runs = world.runs(_ADAPTED, 1)
    pack = world.pack(runs, forward_tokens(runs, [work_of(world)], steps.device))
    (learner,) = pack.learners

    def turn(count: int) -> float:
        learner.step = 0  # the same rows again
        seconds = seconds_per_step(pack, count)
        pack.sync_metrics()
        return seconds

    turn(1)
    count = min(_MOST_STEPS, max(1, math.ceil(_SECONDS / turn(1))))
    return partial(turn, count), pack.losses.get(learner.key, math.nan)


def at_once(count: int, kind: DeviceKind, work: Callable[[int], _Result]) -> list[_Result]:
    """What `work(number)` gives in so many new processes of one thread, by their number.

    Each has a GPU of its own, or a core, and may `meet` the others. What one of them ends in is raised here,
    as soon as the others know.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        count, mp_context=spawn, initializer=_meet_at, initargs=(spawn.Barrier(count),)
    ) as pool:
        found = [pool.submit(_begin, number, kind, work) for number in range(count)]
        errors = [error for each in found if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error  # the cause before those that waited for it
    return [each.result() for each in found]


def meet() -> None:
    """Wait, in such a process, until all of them are here."""
    _met().wait(MEETING_S)


def own_gpu(visible: str | None, number: int) -> str:
    """What CUDA_VISIBLE_DEVICES is for the process of that number where this one's is `visible`."""
    return visible.split(",")[number] if visible else str(number)


def _met() -> Barrier:
    assert _barrier is not None, "the process pool has given it"
    return _barrier


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _begin(number: int, kind: DeviceKind, work: Callable[[int], _Result]) -> _Result:
    try:
        if kind == "cuda":
            os.environ["CUDA_VISIBLE_DEVICES"] = own_gpu(os.environ.get("CUDA_VISIBLE_DEVICES"), number)
            torch.zeros(1, device="cuda")  # its context, which is no part of what is timed
        torch.set_num_threads(1)
        return work(number)
    except BaseException:
        _met().abort()  # the others must not wait for this one
        raise
