"""Cost of a study for its driver as it grows: runs of one step each, every size in a fresh process."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.measure import peak_bytes
from sweeps.launch.driver import run_study
from sweeps.study.expand import load_study

SIZES = (250, 500, 1000, 2000)
TARGET_S, TARGET_BYTES = 0.1, 2.0**30
_STUDY = """
name: one-step-runs
suite: mini
tasks: [comparison]
eval_size: 1
seeds: {seeds}
sources: [mini-qwen3-xs]
targets: [mini-qwen3-xs]
pack_size: 32
methods:
  lora:
    size: 1
    adapter: {{modules: [q], rank: 1}}
    train: {{epochs: 1, evaluate: last_epoch}}
"""


@dataclass(frozen=True)
class Point:
    """A study of `size` runs: its wall time, its driver's CPU time and its driver's largest resident set."""

    size: int
    wall_s: float
    driver_s: float
    peak_bytes: float


def study_scaling() -> list[Point]:
    """Measure every size, launched by a process of its own on a local Ray."""
    points = []
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.study_scaling", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        points.append(Point(**json.loads(done.stdout.strip().splitlines()[-1])))
    return points


def growth(points: list[Point]) -> tuple[float, float]:
    """Seconds of wall time and of the driver's CPU time that another run adds, by least squares."""
    sizes = [point.size for point in points]
    wall, _ = np.polyfit(sizes, [point.wall_s for point in points], 1)
    driver, _ = np.polyfit(sizes, [point.driver_s for point in points], 1)
    return float(wall), float(driver)


def measure(size: int) -> Point:
    """Measure a size in this process, which should be fresh: its peak memory is part of the answer."""
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        path = Path(scratch) / "study.yaml"
        path.write_text(_STUDY.format(seeds=list(range(size))))
        console = Console(file=sys.stderr)
        started, worked = time.monotonic(), time.process_time()
        outcome = run_study(load_study(path), Path(scratch) / "out", executor="plain", console=console)
        spent = time.monotonic() - started, time.process_time() - worked
        assert outcome.done == size, outcome.failures
    return Point(size, *spent, peak_bytes())


if __name__ == "__main__":
    os.environ.pop("RAY_ADDRESS", None)
    print(json.dumps(asdict(measure(int(sys.argv[1])))))
