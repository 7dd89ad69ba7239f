"""Steps of several processes at once over one's: what the lanes of a node take from each other."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch

from portal.bases.base import load_base
from portal.config import BaseRef, DeviceKind
from portal.device import wait_for_device
from sweeps.gpu_check.finding import Finding, at_most
from sweeps.gpu_check.processes import at_once, meet
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import work_of
from sweeps.planning.cost_model import forward_tokens, peak_memory
from sweeps.planning.devices import Device

BOUND = 1.25
"""Of a step's time beside others over that of one alone."""
_SECONDS = 4.0
_MOST_STEPS = 50
_ADAPTED = ("q", "v")


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

    Only one of the processes has steps alone.
    """

    alone: tuple[float, ...]
    together: float


def check_neighbours(steps: Steps, count: int) -> tuple[Finding, float]:
    """The line on steps of so many processes at once, and how many times as long as one's they take."""
    times = at_once(count, steps.kind, partial(step_times, steps=steps))
    ratio = fmean(own.together for own in times) / fmean(each for own in times for each in own.alone)
    name = f"{steps.base.name} in bf16" if steps.base.precision == "bf16" else steps.base.name
    what = f"{name}: a step of {count} workers at once over one's"
    note = "CPU cores, or the bandwidth of memory, are too few for them"
    return at_most(what, ratio, BOUND, otherwise="WARN", note=note), ratio


def step_times(number: int, *, steps: Steps) -> Times:
    """In a process of `at_once`: its times; the first one steps alone, too, twice, as the machine changes."""
    is_first = number == 0
    turn = _prepare(steps)
    meet()
    before = [turn()] if is_first else []
    meet()
    together = turn()
    meet()
    after = [turn()] if is_first else []
    return Times((*before, *after), together)


def _prepare(steps: Steps) -> Callable[[], float]:
    """What takes the same steps each time that it is called and gives the seconds per step; they are warm."""
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
        wait_for_device()
        started = time.perf_counter()
        for _ in range(count):
            pack.step()
        pack.sync_metrics()
        wait_for_device()
        return (time.perf_counter() - started) / count

    turn(1)
    return partial(turn, min(_MOST_STEPS, max(1, math.ceil(_SECONDS / turn(1)))))
