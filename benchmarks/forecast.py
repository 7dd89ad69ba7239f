"""What plans predict for whole studies at the pace that gpu-check measures, beside what they take (hours)."""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STUDIES: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "text-cpu": ("text-cpu",),
    "few-rows": ("few-rows", "--seed", "0"),
    "words-cpu": ("words-cpu", "--seed", "0"),
    "real-cpu": ("real-cpu",),
}
"""Shipped studies with their options: of the longest a seed. Bases of `words-cpu` and `real-cpu` are in bf16
where the CPU has it, all others in fp32."""
BOUNDS = (0.8, 1.25)
"""Of the predicted time over the measured one: what a plan's range says at a measured pace."""
CHECK_S = 480
"""The most seconds that gpu-check may take."""
_PORTAL = (sys.executable, "-m", "portal")


@dataclass(frozen=True)
class Point:
    """A study from start to end: `pace` is how many times as long as in the model gpu-check's steps took.

    `bf16_pace` is that of steps on a base in bf16. `predicted_after_s` is what a plan says with a check made
    when the study had ended: other work on the machine changes it. `check_s` are the seconds of the first
    check. None is what was not measured.
    """

    study: str
    pace: float
    predicted_s: float
    measured_s: float
    bf16_pace: float | None = None
    predicted_after_s: float | None = None
    check_s: float | None = None

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted_s / self.measured_s


def forecast(study: str) -> list[Point]:
    """A check of this machine, then the study: planned, and run; nothing else should run meanwhile.

    RuntimeError where there is a GPU, which the study would take.
    """
    if torch.cuda.is_available():
        raise RuntimeError("forecasts are compared on CPUs; hide the GPUs (CUDA_VISIBLE_DEVICES=)")
    with tempfile.TemporaryDirectory(prefix="portal-bench-") as scratch:
        environment = {**os.environ, "PORTAL_CACHE": str(Path(scratch, "cache"))}
        plan, check_s = _plan(study, Path(scratch), environment)
        started = time.monotonic()
        _run("sweep", "run", *STUDIES[study], "--out", str(Path(scratch, "out")), environment=environment)
        measured_s = time.monotonic() - started
        after, _ = _plan(study, Path(scratch), environment)
    device = plan["device"]
    predicted_s, after_s = (3600 * each["makespan_hours"] for each in (plan, after))
    return [Point(study, device["pace"], predicted_s, measured_s, device["bf16_pace"], after_s, check_s)]


def _plan(study: str, scratch: Path, environment: dict[str, str]) -> tuple[dict[str, Any], float]:
    """The plan for the whole study with what a check of this machine finds now, and the check's seconds."""
    started = time.monotonic()
    _run("gpu-check", "--device", "cpu", "--out", str(scratch / "check"), environment=environment)
    check_s = time.monotonic() - started
    chosen = (*STUDIES[study], "--out", str(scratch / "nothing"))
    plan: dict[str, Any] = json.loads(_run("sweep", "plan", *chosen, "--json", environment=environment))
    return plan, check_s


def _run(*arguments: str, environment: dict[str, str]) -> str:
    """The command's output; CalledProcessError where it fails. What it says of its progress is shown."""
    command = [*_PORTAL, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
