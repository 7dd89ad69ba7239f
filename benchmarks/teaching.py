"""How long `portal teach` takes for one new task: until it says so, and in all, as its user waits for it."""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BASE, SOURCE_TASKS, NEW_TASK, ROWS = "village-qwen3-xs", "source-11", "plays_11", 16
REPEATS = 3
START_UP_S, TOTAL_S = 5.0, 20.0
"""Targets: until the first line of progress, and in all."""
_PORTAL = (sys.executable, "-m", "portal")


_STUDY = f"""
name: teaching
suite: village
tasks: [{SOURCE_TASKS}]
seeds: [0]
sources: [{BASE}]
methods:
  source:
    size: 4
    adapter: {{modules: [q, k, v, o, gate, up, down], rank: 4}}
    hypernet: {{d_latent: 64, d_layer: 16, hidden: 128, d_core: 128}}
    train: {{epochs: 1}}
"""
"""A source with the widths that the demo's has."""


@dataclass(frozen=True)
class Point:
    """Medians over `repeats` of a fresh process each: seconds until its first line of progress, and in all.

    `core` says whose widths the source's hypernetwork has.
    """

    core: str
    rows: int
    startup_s: float
    total_s: float
    repeats: int


def teaching() -> list[Point]:
    """A task of `village` on its smallest base, with scores of the frozen base; the source is trained before.

    The source takes few steps on few rows: what it has learnt does not change how long teaching takes.
    """
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        sources = {"the demo's": _study_source(Path(scratch)), "the paper's": _trained_source(Path(scratch))}
        points = []
        for number, (core, source) in enumerate(sources.items()):
            outs = [Path(scratch, f"taught-{number}-{repeat}") for repeat in range(REPEATS)]
            starts, totals = zip(*(_teach(source, out) for out in outs), strict=True)
            points.append(Point(core, ROWS, statistics.median(starts), statistics.median(totals), REPEATS))
    return points


def _study_source(scratch: Path) -> Path:
    study, out = scratch / "teaching.yaml", scratch / "study"
    study.write_text(_STUDY)
    run = ["sweep", "run", str(study), "--executor", "local", "--out", str(out)]
    subprocess.run([*_PORTAL, *run], check=True, capture_output=True)
    (artifact,) = out.glob(f"runs/*/artifact/{BASE}")
    return artifact


def _trained_source(scratch: Path) -> Path:
    """As `portal train` makes it."""
    out = scratch / "source"
    train = ["train", "--source", BASE, "--suite", "village", "--tasks", SOURCE_TASKS, "--examples", "4"]
    train += ["--epochs", "1", "--modules", "all", "--rank", "4", "--no-base", "--out", str(out)]
    subprocess.run([*_PORTAL, *train], check=True, capture_output=True)
    return out


def _teach(source: Path, out: Path) -> tuple[float, float]:
    """Seconds until the first line about steps, and until the end; CalledProcessError where it fails."""
    command = [*_PORTAL, "teach", str(source), "--on", BASE, "--suite", "village", "--tasks", NEW_TASK]
    command += ["--examples", str(ROWS), "--out", str(out)]
    began, first = time.monotonic(), None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if first is None and "runs" in line:
                first = time.monotonic() - began
    total = time.monotonic() - began
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    assert first is not None, "the command said nothing of its steps"
    return first, total
