"""Steps on a base of a real shape beside what a plan predicts for them, in time and in memory."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from portal.config import RunConfig
from portal.device import wait_for_device
from portal.modules import ALL_MODULES
from portal.training.pack import Pack
from sweeps.gpu_check.finding import Finding, between, skipped
from sweeps.gpu_check.shape import LENGTHS, ShapeWorld
from sweeps.planning.cost_model import forward_tokens, peak_memory
from sweeps.planning.devices import Device
from sweeps.planning.step_time import step_seconds
from sweeps.planning.workload import Work

PACE_BOUNDS = (0.7, 1.4)
"""Of a measured step over the predicted one: outside, plans for this machine are not to be relied on."""
MEMORY_BOUNDS = (0.85, 1.15)
"""Of a GPU's measured peak over the predicted one."""
ADAPTED = {"q and v": ("q", "v"), "all modules": ALL_MODULES}
_COUNTS = {"cuda": (1, 3, 8), "cpu": (1, 3), "cpu in bf16": (1,)}
_STEPS = {"cuda": 20, "cpu": 3, "cpu in bf16": 2}
_WARM_UP = 2


@dataclass(frozen=True)
class Speed:
    """A step of a pack, in seconds as measured and as predicted, with the lines that it is worth."""

    measured_s: float
    predicted_s: float
    findings: tuple[Finding, ...]

    @property
    def pace(self) -> float:
        """How many times as long as predicted."""
        return self.measured_s / self.predicted_s


def measure_speeds(world: ShapeWorld, device: Device) -> Iterator[Speed | Finding]:
    """Packs of fewer and more learners and modules, one after another; a line for one that does not fit."""
    name = f"{world.base.name} in bf16" if world.is_halved else world.base.name
    for adapted, modules in ADAPTED.items():
        for count in _COUNTS[_kind(world)]:
            what = f"{name}, {adapted}, {count} learner{'s' if count > 1 else ''}"
            runs = world.runs(modules, count)
            works = [work_of(world)] * count
            if peak_memory(runs, works, device) > device.budget_bytes:
                yield skipped(f"{what}: a step", "the pack does not fit the device's memory")
                continue
            yield _speed(world, runs, works, device, what)


def pace_of(speeds: Sequence[Speed]) -> float:
    """The geometric mean of how many times as long as predicted steps take."""
    return math.exp(math.fsum(math.log(each.pace) for each in speeds) / len(speeds))


def _speed(
    world: ShapeWorld, runs: Sequence[RunConfig], works: Sequence[Work], device: Device, what: str
) -> Speed:
    kind, limits = _kind(world), forward_tokens(runs, works, device)
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    pack = world.pack(runs, limits)
    for _ in range(_WARM_UP):
        pack.step()
    measured = _seconds_per_step(pack, _STEPS[kind])
    name = world.base.name
    predicted = step_seconds(runs, works, name, device, max_tokens=limits[name])
    step = f"{what}: a step of {1000 * measured:.0f} ms over the forecast"
    note = "plans for this machine are off by that"
    findings = [between(step, measured / predicted, *PACE_BOUNDS, otherwise="WARN", note=note)]
    if kind == "cuda":
        predicted_bytes = peak_memory(runs, works, device, max_tokens=limits)
        findings.append(check_peak(what, torch.cuda.max_memory_allocated(), predicted_bytes))
    return Speed(measured, predicted, tuple(findings))


def check_peak(what: str, measured_bytes: float, predicted_bytes: float) -> Finding:
    """The line of a peak of memory beside what a plan predicts."""
    note = "plans may choose packs and forwards that are too large, or too small"
    share = measured_bytes / predicted_bytes
    return between(
        f"{what}: peak memory over the forecast", share, *MEMORY_BOUNDS, otherwise="WARN", note=note
    )


def work_of(world: ShapeWorld) -> Work:
    """A step of one run on the world's rows."""
    rows = {task: world.rows.rows(task, "train") for task in LENGTHS}
    lengths = tuple(tuple(len(row.gold_ids) for row in own) for own in rows.values())
    flat = [length for own in lengths for length in own]
    answers = [len(row.gold_ids) - row.gold_start for own in rows.values() for row in own]
    return Work(
        steps=1,
        rows_per_step=world.batch * len(LENGTHS),
        tasks=len(LENGTHS),
        row_tokens=sum(flat) / len(flat),
        answer_tokens=sum(answers) / len(answers),
        scored_tokens=0.0,
        scored_answer_share=0.0,
        scored_rows=0.0,
        lengths=lengths,
    )


def _kind(world: ShapeWorld) -> str:
    return f"{world.base.device.type} in bf16" if world.is_halved else world.base.device.type


def _seconds_per_step(pack: Pack, count: int) -> float:
    pack.sync_metrics()
    wait_for_device()
    started = time.perf_counter()
    for _ in range(count):
        pack.step()
    wait_for_device()
    return (time.perf_counter() - started) / count
