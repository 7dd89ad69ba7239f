"""Steps on a base of a real shape beside what a plan predicts for them, in time and in memory."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from portal.config import Activations, RunConfig
from portal.device import release_memory, wait_for_device
from portal.modules import ALL_MODULES
from portal.training.pack import Pack
from sweeps.gpu_check.checkpoints import check_checkpoints
from sweeps.gpu_check.finding import (
    Finding,
    at_most,
    between,
    left_out,
    over_forecast,
    skipped,
    until_error,
)
from sweeps.gpu_check.pace import Speed
from sweeps.gpu_check.products import check_products
from sweeps.gpu_check.scoring import measure_scoring
from sweeps.gpu_check.shape import LENGTHS, ShapeWorld
from sweeps.planning.cost_model import Execution, forward_tokens, peak_memory, step_seconds
from sweeps.planning.devices import Device
from sweeps.planning.workload import Work

MEMORY_BOUNDS = (0.85, 1.15)
"""Of a GPU's measured peak over the predicted one."""
FRAGMENTATION_BOUND = 1.15
"""Of the memory that torch holds on a GPU over the most that tensors had of it."""
ADAPTED = {"q and v": ("q", "v"), "all modules": ALL_MODULES}
_COUNTS = {"cuda": (1, 3, 8), "cpu": (1, 3), "cpu in bf16": (1,)}
_RECOMPUTING = {"cuda": (1, 8), "cpu": (1,), "cpu in bf16": ()}
"""Learners of packs that keep nothing of a layer but what goes into it, and compute it again."""
_STEPS, _STEPS_SECONDS = {"cuda": 20, "cpu": 3, "cpu in bf16": 2}, 8.0
"""Steps that are timed; on a GPU fewer where they would take longer than so many seconds."""
_WARM_UP = 2
_MANY_STEPS, _MANY_SECONDS = 100, 8.0
"""Steps that a pack takes on a GPU until the memory that torch holds is looked at, or seconds of them."""


@dataclass(frozen=True)
class _TimedPack:
    """A pack whose steps are timed: `count` learners on these modules."""

    adapted: str
    count: int
    activations: Activations = "keep"

    @property
    def how(self) -> Execution:
        return Execution(self.activations)

    @property
    def label(self) -> str:
        again = ", activations recomputed" if self.activations == "recompute" else ""
        return f"{self.adapted}, {self.count} learner{'s' if self.count > 1 else ''}{again}"


def measure_speeds(
    world: ShapeWorld, device: Device, out: Path, is_late: Callable[[], bool] = lambda: False
) -> Iterator[Speed | Finding]:
    """Packs of fewer and more learners and modules, one after another; a line for one that does not fit.

    Products of the base's matrices come before. The first pack scores rows, and writes checkpoints below
    `out`. Steps that recompute activations are lines only, and are left out when it `is_late`: a pace is that
    of steps as studies have them by default.
    """
    name, kind = f"{world.base.name} in bf16" if world.is_halved else world.base.name, world.kind
    yield from until_error(check_products(world, device, name))
    kept = [_TimedPack(adapted, count) for adapted in ADAPTED for count in _COUNTS[kind]]
    recomputing = [_TimedPack(kept[0].adapted, count, "recompute") for count in _RECOMPUTING[kind]]
    for timed in (*kept, *recomputing):
        what = f"{name}, {timed.label}"
        if not _fits(world, timed, device):
            yield skipped(f"{what}: a step", "the pack does not fit the device's memory")
            continue
        if timed not in kept and is_late():
            yield left_out(f"{what}: a step")
            continue
        pack, speed = _step_and_time(world, timed, device, what)
        if timed in kept:
            yield speed
        else:
            yield from speed.findings
        if timed == kept[0]:
            yield from until_error(_measure_between_steps(world, pack, device, out, name=name, what=what))
        del pack  # before the next one is made


def _measure_between_steps(
    world: ShapeWorld, pack: Pack, device: Device, out: Path, *, name: str, what: str
) -> Iterator[Speed | Finding]:
    yield measure_scoring(world, pack, work_of(world), device, name)
    yield from check_checkpoints(pack, out, what)


def _workload(world: ShapeWorld, timed: _TimedPack) -> tuple[list[RunConfig], list[Work]]:
    """The pack's runs, and the work of each."""
    return world.runs(ADAPTED[timed.adapted], timed.count), [work_of(world)] * timed.count


def _fits(world: ShapeWorld, timed: _TimedPack, device: Device) -> bool:
    return peak_memory(*_workload(world, timed), device, timed.how) <= device.budget_bytes


def _step_and_time(world: ShapeWorld, timed: _TimedPack, device: Device, what: str) -> tuple[Pack, Speed]:
    """The pack after its steps, and what they took."""
    kind, name = world.kind, world.base.name
    runs, works = _workload(world, timed)
    limits = forward_tokens(runs, works, device, timed.how)
    if kind == "cuda":
        release_memory()
        torch.cuda.reset_peak_memory_stats()
    pack = world.pack(runs, limits, timed.activations)
    pack.step()
    warm = _seconds_per_step(pack, _WARM_UP - 1)
    count = _STEPS[kind]
    if kind == "cuda":
        count = max(1, min(count, math.ceil(_STEPS_SECONDS / warm)))
    measured = _seconds_per_step(pack, count)
    predicted = step_seconds(runs, works, name, device, timed.activations, max_tokens=limits[name])
    findings = [over_forecast(f"{what}: a step of {1000 * measured:.0f} ms", measured / predicted)]
    if kind == "cuda":
        predicted_bytes = peak_memory(runs, works, device, timed.how, max_tokens=limits)
        findings.append(check_peak(what, torch.cuda.max_memory_allocated(), predicted_bytes))
        count = min(_MANY_STEPS, math.ceil(_MANY_SECONDS / measured))
        _seconds_per_step(pack, count)
        reserved, needed = torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()
        findings.append(check_fragmentation(f"{what}, after {count} steps", reserved, needed))
    return pack, Speed(measured, predicted, tuple(findings))


def check_peak(what: str, measured_bytes: float, predicted_bytes: float) -> Finding:
    """The line of a peak of memory beside what a plan predicts."""
    note = "plans may choose packs and forwards that are too large, or too small"
    share = measured_bytes / predicted_bytes
    return between(
        f"{what}: peak memory over the forecast", share, *MEMORY_BOUNDS, otherwise="WARN", note=note
    )


def check_fragmentation(what: str, reserved_bytes: float, needed_bytes: float) -> Finding:
    """The line of the memory that torch holds beside the most that tensors had of it at once."""
    note = "rows of many lengths leave gaps in it that nothing fits"
    line = f"{what}: memory held over the most that was in use"
    return at_most(line, reserved_bytes / needed_bytes, FRAGMENTATION_BOUND, otherwise="WARN", note=note)


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


def _seconds_per_step(pack: Pack, count: int) -> float:
    pack.sync_metrics()
    wait_for_device()
    started = time.perf_counter()
    for _ in range(count):
        pack.step()
    wait_for_device()
    return (time.perf_counter() - started) / count
