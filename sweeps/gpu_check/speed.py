"""Steps and scoring on a base of a real shape beside what a plan predicts for them, in time and in memory."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

import torch

from portal.config import Activations, RunConfig
from portal.data.sampling import evaluation_rows
from portal.device import release_memory, wait_for_device
from portal.forward.adapter_hooks import AdapterHooks
from portal.learners.base import Learner
from portal.learners.kept import EVALUATED_SPLITS
from portal.modules import ALL_MODULES
from portal.training.evaluator import Evaluator
from portal.training.pack import Pack
from portal.training.result_rows import Evaluation
from portal.training.worker_group import WorkerGroup
from sweeps.gpu_check.finding import Finding, bounded, left_out, skipped, until_error
from sweeps.gpu_check.shape import LENGTHS, ShapeWorld
from sweeps.planning.cost_model import Execution, forward_tokens, peak_memory, scoring_seconds, step_seconds
from sweeps.planning.devices import Device
from sweeps.planning.workload import Work, scoring_only

PACE_BOUNDS = (0.7, 1.4)
"""Of a measured time over the predicted one: outside, plans for this machine are not to be relied on."""
MEMORY_BOUNDS = (0.85, 1.15)
"""Of a GPU's measured peak over the predicted one."""
ADAPTED = {"q and v": ("q", "v"), "all modules": ALL_MODULES}
_COUNTS = {"cuda": (1, 3, 8), "cpu": (1, 3), "cpu in bf16": (1,)}
_RECOMPUTING = {"cuda": (1, 8), "cpu": (1,), "cpu in bf16": ()}
"""Learners of packs that keep nothing of a layer but what goes into it, and compute it again."""
_STEPS, _STEPS_SECONDS = {"cuda": 20, "cpu": 3, "cpu in bf16": 2}, 8.0
"""Steps that are timed; on a GPU fewer where they would take longer than so many seconds."""
_WARM_UP = 2
_SCORED_TASKS = {"cuda": tuple(LENGTHS), "cpu": tuple(LENGTHS)[::5], "cpu in bf16": tuple(LENGTHS)[::7]}
_SCORING_TURNS = 2
"""The first one lays rows out and takes memory."""


@dataclass(frozen=True)
class Speed:
    """Seconds of a step or an evaluation as measured and as predicted, with the lines on them."""

    measured_s: float
    predicted_s: float
    findings: tuple[Finding, ...]
    is_scoring: bool = False

    @property
    def pace(self) -> float:
        """How many times as long as predicted."""
        return self.measured_s / self.predicted_s


def pace_of(speeds: Sequence[Speed]) -> float | None:
    """The geometric mean of how many times as long as predicted they took; None of none."""
    return geometric_mean(each.pace for each in speeds) if speeds else None


@dataclass(frozen=True)
class TimedPack:
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

    def workload(self, world: ShapeWorld) -> tuple[list[RunConfig], list[Work]]:
        """The pack's runs, and the work of each."""
        return world.runs(ADAPTED[self.adapted], self.count), [work_of(world)] * self.count

    def fits(self, world: ShapeWorld, device: Device) -> bool:
        """Whether the device has the memory that the pack is planned to need."""
        return peak_memory(*self.workload(world), device, self.how) <= device.budget_bytes


def measure_speeds(
    world: ShapeWorld, device: Device, is_late: Callable[[], bool] = lambda: False
) -> Iterator[Speed | Finding]:
    """Packs of fewer and more learners and modules, one after another; a line for one that does not fit.

    The first pack scores rows. Steps that recompute activations are lines only, and are left out when it
    `is_late`: a pace is that of steps as studies have them by default.
    """
    kind = world.kind
    kept = [TimedPack(adapted, count) for adapted in ADAPTED for count in _COUNTS[kind]]
    recomputing = [TimedPack(kept[0].adapted, count, "recompute") for count in _RECOMPUTING[kind]]
    for timed in (*kept, *recomputing):
        what = f"{world.name}, {timed.label}"
        if not timed.fits(world, device):
            yield skipped(f"{what}: a step", "the pack does not fit the device's memory")
            continue
        if timed not in kept and is_late():
            yield left_out(f"{what}: a step")
            continue
        pack, speed = step_and_time(world, timed, device, what)
        if timed in kept:
            yield speed
        else:
            yield from speed.findings
        if timed == kept[0]:
            yield from until_error(measure_scoring(world, pack, device))
        del pack  # before the next one is made


def step_and_time(world: ShapeWorld, timed: TimedPack, device: Device, what: str) -> tuple[Pack, Speed]:
    """The pack after its steps, and what they took."""
    kind, name = world.kind, world.base.name
    runs, works = timed.workload(world)
    limits = forward_tokens(runs, works, device, timed.how)
    if kind == "cuda":
        release_memory()
        torch.cuda.reset_peak_memory_stats()
    pack = world.pack(runs, limits, timed.activations)
    pack.step()
    warm = seconds_per_step(pack, _WARM_UP - 1)
    count = _STEPS[kind]
    if kind == "cuda":
        count = max(1, min(count, math.ceil(_STEPS_SECONDS / warm)))
    measured = seconds_per_step(pack, count)
    predicted = step_seconds(runs, works, name, device, timed.activations, max_tokens=limits[name])
    findings = [_over_forecast(f"{what}: a step of {1000 * measured:.0f} ms", measured / predicted)]
    if kind == "cuda":
        predicted_bytes = peak_memory(runs, works, device, timed.how, max_tokens=limits)
        findings.append(check_peak(what, torch.cuda.max_memory_allocated(), predicted_bytes))
    return pack, Speed(measured, predicted, tuple(findings))


def seconds_per_step(pack: Pack, count: int) -> float:
    """Seconds of a step, in the mean of so many."""
    pack.sync_metrics()
    wait_for_device()
    started = time.perf_counter()
    for _ in range(count):
        pack.step()
    wait_for_device()
    return (time.perf_counter() - started) / count


def measure_scoring(world: ShapeWorld, pack: Pack, device: Device) -> Iterator[Speed]:
    """An evaluation of the first learner, whose adapters are no longer zero; on a CPU of some tasks."""
    base, learner, tasks = world.base, pack.learners[0], _SCORED_TASKS[world.kind]
    _, seconds = time_scoring(world, learner, tasks)
    sets = [
        evaluation_rows(world.rows.rows(task, split), learner.run.data.eval_size)
        for task in tasks
        for split in EVALUATED_SPLITS
    ]
    scoring = scoring_only(work_of(world), sets, in_one_row=base.takes_branches)
    predicted = scoring_seconds([learner.run], [scoring], base.name, device)
    rows = sum(map(len, sets))
    line = _over_forecast(f"{world.name}: scoring of {rows} rows in {seconds:.2f} s", seconds / predicted)
    yield Speed(seconds, predicted, (line,), is_scoring=True)


def time_scoring(world: ShapeWorld, learner: Learner, tasks: Sequence[str]) -> tuple[Evaluation, float]:
    """Scores of the tasks' rows in both splits, and the seconds that they take once the rows are laid out.

    FloatingPointError for scores that are no numbers.
    """
    base = world.base
    hooks = AdapterHooks(base.model, base.sites)
    evaluator = Evaluator({base.name: base}, {base.name: world.rows}, {base.name: hooks}, WorkerGroup())
    for _ in range(_SCORING_TURNS):
        started = time.perf_counter()
        found = evaluator.evaluate(learner, 1, tasks)  # reads the scores, and so waits for the device
        seconds = time.perf_counter() - started
    if isinstance(found, str):
        raise FloatingPointError(found)
    return found, seconds


def check_peak(what: str, measured_bytes: float, predicted_bytes: float) -> Finding:
    """The line of a peak of memory beside what a plan predicts."""
    share, note = measured_bytes / predicted_bytes, "plans may choose packs that are too large, or too small"
    least, most = MEMORY_BOUNDS
    line = f"{what}: peak memory over the forecast"
    return bounded(line, share, least=least, most=most, otherwise="WARN", note=note)


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


def _over_forecast(what: str, ratio: float) -> Finding:
    """A measured time over what a plan predicts for it, which warns where it is off."""
    note = "plans for this machine are off by that"
    least, most = PACE_BOUNDS
    return bounded(f"{what} over the forecast", ratio, least=least, most=most, otherwise="WARN", note=note)
