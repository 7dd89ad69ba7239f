"""Cost of a learner as its pack grows: a step's time and peak memory, each size in a fresh process."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.measure import peak_bytes
from benchmarks.runs import make_run
from benchmarks.sample import as_table, draw
from portal.bases.base import load_base
from portal.evaluate.loglikelihood import score_rows
from portal.learners.lora import LoraLearner
from portal.training.pack import Pack
from sweeps.planning.memory import footprint

SIZES = (1, 2, 4, 8, 16, 32)
BASES = ("mini-qwen3-m", "smollm2-135m")
BATCH = 4
_SUITES = {"mini-qwen3-m": ("mini", "fact_qa"), "smollm2-135m": ("portal14", "copa")}
_STEPS = {"mini-qwen3-m": 20, "smollm2-135m": 5}


@dataclass(frozen=True)
class Point:
    """A pack of `size` learners: seconds per step, and what its steps added to the process at the peak."""

    base: str
    size: int
    step_s: float
    peak_bytes: float
    predicted_bytes: float


def pack_scaling() -> list[Point]:
    """Every size on every base; learners are LoRAs r8 on q and v of one task in as many seeds."""
    points = []
    for base in BASES:
        for size in SIZES:
            command = [sys.executable, "-m", "benchmarks.pack_scaling", base, str(size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            points.append(Point(**json.loads(done.stdout.strip().splitlines()[-1])))
    return points


def slope_bytes(points: list[Point]) -> float:
    """Bytes per learner, by least squares."""
    slope, _ = np.polyfit([point.size for point in points], [point.peak_bytes for point in points], 1)
    return float(slope)


def measure(name: str, size: int) -> Point:
    """In this process, which should be fresh: its peak memory is part of the answer."""
    base = load_base(name)
    suite, task = _SUITES[name]
    rows = as_table([each for each in draw(suite, BATCH, seed=0) if each.task == task], base)
    train = {"epochs": 10**6, "evaluate": "last_epoch", "batch_size": BATCH}
    runs = [make_run("lora", base, (task,), size=BATCH, seed=seed, train=train) for seed in range(size)]
    score_rows(base, rows.rows(task, "train"))  # the weights are read from disk when they are first used
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = peak_bytes()
    pack = Pack(
        {base.name: base},
        {base.name: rows},
        [LoraLearner(run, {base.name: base}, {base.name: rows}) for run in runs],
    )
    spent = []
    for _ in range(2 + _STEPS[name]):
        started = time.perf_counter()
        pack.step()
        pack.sync_metrics()
        spent.append(time.perf_counter() - started)
    batch = rows.rows(task, "train")
    length = max(len(row.gold_ids) for row in batch)
    tokens = size * BATCH * length
    answers = size * sum(row.scored_tokens[row.gold] for row in batch)
    predicted = footprint(runs, name, length=length, on_gpu=False)
    return Point(
        name, size, median(spent[2:]), peak_bytes() - before, predicted.peak(tokens, answers) - predicted.base
    )


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2])))))
