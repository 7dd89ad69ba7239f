"""Cost of joint training as the tasks of a run grow, each number of tasks in a fresh process.

A step's time and the share of it that is spent in Python, scoring, and peak memory beside what is predicted.
torch's profiler times every operation. What it leaves between them is Python, but for the time between two
operations of a backward pass, which torch's engine takes, and for what the profiler itself and the call of an
operation take, which is measured on operations that follow each other directly.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measure import peak_bytes
from benchmarks.runs import make_run
from portal.bases.base import Base, load_base
from portal.config import AdapterConfig, HypernetConfig, RunConfig
from portal.data.suites import load_suite
from portal.data.token_rows import RowTable, encode_examples
from portal.forward.microbatch import MAX_FORWARD_TOKENS
from portal.learners.hypernet import HypernetLearner
from portal.modules import ALL_MODULES
from portal.training.pack import Pack
from sweeps.planning.memory import footprint

BASE, SUITE = "village-qwen3-s", "village"
TASKS = (11, 35, 70, 140)
THREADS = (1, 2)
TARGET = 0.05
"""Of a step of the most tasks."""
BATCH = 4
_ROWS_PER_TASK, _SCORED_ROWS, _BARE_CALLS = 64, 8, 20_000
_WARM_UP, _STEPS = 3, 10
_ENGINE = "autograd::engine"
"""How the names of a backward's operations begin."""


@dataclass(frozen=True)
class Point:
    """A step of joint training of so many tasks x BATCH rows: its seconds, and Python's share of them.

    `scored` are rows per second with the tasks' adapters, `peak_bytes` what steps add to the process.
    """

    tasks: int
    threads: int
    step_s: float
    python_share: float
    scored: float
    peak_bytes: float
    predicted_bytes: float


def task_scaling() -> list[Point]:
    """Every number of tasks with every number of threads."""
    points = []
    for threads in THREADS:
        for tasks in TASKS:
            command = [sys.executable, "-m", "benchmarks.task_scaling", str(tasks), str(threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            points.append(Point(**json.loads(done.stdout.strip().splitlines()[-1])))
    return points


def measure(num_tasks: int, threads: int) -> Point:
    """In this process, which should be fresh: the first steps are slower than the others."""
    torch.set_num_threads(threads)
    base, tasks = load_base(BASE), load_suite(SUITE).groups[f"source-{num_tasks}"]
    rows, run = _rows(base, tasks), _run(base, tasks)
    pack = _pack(base, rows, run)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak_bytes()
    for _ in range(_WARM_UP):
        pack.step()
    peak = peak_bytes() - before
    call_s = min(_call_seconds() for _ in range(3))
    spent, python_s, wall_s = [], 0.0, 0.0
    for _ in range(_STEPS):
        started = time.perf_counter()
        pack.step()
        spent.append(time.perf_counter() - started)
        profiled = _profiled(pack.step)
        python_s += profiled.outside_s - profiled.calls * call_s
        wall_s += profiled.wall_s - profiled.calls * call_s
    scored, share = _scored_per_second(pack, num_tasks), python_s / wall_s
    return Point(num_tasks, threads, median(spent), share, scored, peak, _predicted(base, rows, run))


def _rows(base: Base, tasks: tuple[str, ...]) -> RowTable:
    suite = load_suite(SUITE)
    examples = (
        (each, split)
        for task in tasks
        for split, number in (("train", _ROWS_PER_TASK), ("validation", _SCORED_ROWS), ("test", _SCORED_ROWS))
        for each in suite.examples(task, split)[:number]
    )
    return RowTable(encode_examples(examples, base.tokenizer, max_prompt=256))


def _run(base: Base, tasks: tuple[str, ...]) -> RunConfig:
    """A run of joint training in the shape of the embedded studies, which is scored after the last step."""
    return make_run(
        "source",
        base,
        tasks,
        size=_ROWS_PER_TASK,
        adapter=AdapterConfig(modules=ALL_MODULES, rank=8, alpha=16),
        hypernet=HypernetConfig(d_latent=64, d_layer=16, hidden=128, d_core=128),
        train={
            "epochs": 1,
            "rounds_per_epoch": _WARM_UP + 2 * _STEPS,
            "evaluate": "last_epoch",
            "batch_size": BATCH,
        },
    )


def _pack(base: Base, rows: RowTable, run: RunConfig) -> Pack:
    bases, tables = {base.name: base}, {base.name: rows}
    return Pack(bases, tables, [HypernetLearner(run, bases, tables)])


def _scored_per_second(pack: Pack, num_tasks: int) -> float:
    """Rows per second of the one evaluation that is due, on both splits."""
    ((learner, epoch),) = pack.due()
    started = time.perf_counter()
    pack.evaluate(learner, epoch)
    return 2 * num_tasks * _SCORED_ROWS / (time.perf_counter() - started)


def _predicted(base: Base, rows: RowTable, run: RunConfig) -> float:
    """What the plan of a study has for a step's peak beside the base: parameters, optimiser, activations."""
    batch = [row for task in run.data.tasks for row in rows.rows(task, "train")[:BATCH]]
    length = max(len(row.gold_ids) for row in batch)
    tokens = min(sum(len(row.gold_ids) for row in batch), MAX_FORWARD_TOKENS)
    answers = sum(row.scored_tokens[row.gold] for row in batch)
    predicted = footprint([run], base.name, length=length, on_gpu=False)
    return predicted.peak(tokens, answers) - predicted.base


@dataclass(frozen=True)
class _Profile:
    """Seconds of some work under the profiler, those outside of operations, and calls of operations."""

    wall_s: float
    outside_s: float
    calls: int


def _profiled(work: Callable[[], object]) -> _Profile:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        work()
        wall_s = time.perf_counter() - started
    outer = sorted(
        (event for event in profiler.events() if event.cpu_parent is None),
        key=lambda event: event.time_range.start,
    )
    inside_us, calls = sum(event.time_range.elapsed_us() for event in outer), len(outer)
    for before, after in pairwise(outer):
        if before.name.startswith(_ENGINE) and after.name.startswith(_ENGINE):
            inside_us += after.time_range.start - before.time_range.end
            calls -= 1
    return _Profile(wall_s, wall_s - inside_us / 1e6, calls)


def _call_seconds() -> float:
    """What there is outside of an operation per call, where operations follow each other directly."""
    number = torch.zeros(())

    def call() -> None:
        for _ in range(_BARE_CALLS):
            number.neg_()

    profiled = _profiled(call)
    return profiled.outside_s / profiled.calls


if __name__ == "__main__":
    print(json.dumps(asdict(measure(int(sys.argv[1]), int(sys.argv[2])))))
