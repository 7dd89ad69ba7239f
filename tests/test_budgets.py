"""How large the project is, beside tests/budgets.yaml: lines, and what one command reaches.

A figure may exceed the last recorded one by 5 %. `pytest -s tests/test_budgets.py` prints all of them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BUDGETS = Path(__file__).with_name("budgets.yaml")
TOLERANCE = 1.05
PACKAGES = ("portal", "sweeps", "analysis", "cluster")
PYTHON = "lines of Python in portal, sweeps, analysis and cluster"
BESIDE = {
    "lines of Python in tools": ("tools/*.py",),
    "lines of YAML in them": ("{package}/*.yaml", "{package}/*.yml", ":!cluster/templates/*"),
    "lines of templates in them": (
        "cluster/templates/*", "{package}/*.css", "{package}/*.js", "{package}/*.html", "{package}/*.j2",
        ":!*.py",
    ),
    "lines of JSON in them, without the embedded bases": ("{package}/*.json", ":!portal/embedded/*/bases/*"),
}  # fmt: skip
"""What code is moved to, as patterns of git."""
TINY_DEMO = """
name: tiny
suite: village
tasks: [home_01, home_02]
eval_size: 4
seeds: [0]
sources: [village-qwen3-xs]
targets: [village-qwen3-m, village-gemma3]
recipe: many-tasks
methods:
  base: {}
  source:
    size: 4
    train: {epochs: 1, rounds_per_epoch: 1}
    adapter: {modules: [q, v], rank: 4}
    hypernet: {d_latent: 16, d_layer: 8, hidden: 32, d_core: 16}
  lora:
    size: 2
    curve: {sizes: [1]}
    train: {epochs: 1, rounds_per_epoch: 1}
    adapter: {modules: [q, v], rank: 4}
  portal: {size: 2, curve: {sizes: [1]}, train: {epochs: 1, rounds_per_epoch: 1}, targets: [village-qwen3-m]}
  half:
    method: portal
    size: 2
    calibrate: 0.5
    train: {epochs: 1, rounds_per_epoch: 1}
    targets: [village-gemma3]
  shared_lora:
    size: 2
    calibrate: 0.5
    train: {epochs: 1, rounds_per_epoch: 1}
    adapter: {modules: [q, v], rank: 4}
    targets: [village-gemma3]
  mean_latent: {source: half, targets: [village-gemma3]}
exclude:
  - {base: village-gemma3, size: 1}
"""
"""The methods of `demo` on bases of its world, with two tasks and a step or two."""
COUNTING = """
import json, sys, traceback
from portal.cli import main
own = ("portal", "sweeps", "analysis", "cluster")
frames = []

def count_frames(*step):
    if not frames:
        names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_stack(None)]
        frames.extend(name for name in names if name.split(".")[0] in own)

commands = json.loads(sys.argv[1])
if "run" in commands[0]:
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    register_optimizer_step_pre_hook(count_frames)
for command in commands:
    assert main(command) == 0, command
print(json.dumps([sum(name.split(".")[0] in own for name in sys.modules), len(frames)]))
"""
"""Runs commands in one process and prints its own modules in the end, and own frames at the first step."""


def test_lines_stay_within_what_is_recorded() -> None:
    beside = {name: lines_of(*placed(patterns)) for name, patterns in BESIDE.items()}
    python = lines_of(*(f"{package}/*.py" for package in PACKAGES))

    check({PYTHON: python, **beside, "lines of all these": python + sum(beside.values())})
    check({"lines of tests": lines_of("tests/*.py")})


@pytest.mark.slow
def test_modules_and_frames_stay_within_what_is_recorded(tmp_path: Path) -> None:
    study, out = tmp_path / "tiny.yaml", str(tmp_path / "out")
    study.write_text(TINY_DEMO)
    run = ["sweep", "run", str(study), "--out", out, "--executor", "local"]

    after_demo, frames = measure([run, ["report", out]])  # what `portal demo` does, in one process
    after_plan, _ = measure([["sweep", "plan", str(study), "--out", out]])
    after_report, _ = measure([["report", out]])

    check(
        {
            "own modules after demo": after_demo,
            "own modules after sweep plan": after_plan,
            "own modules after report": after_report,
            "own frames at a step of the optimiser": frames,
        }
    )


def placed(patterns: tuple[str, ...]) -> list[str]:
    return [
        each.format(package=package)
        for each in patterns
        for package in (PACKAGES if "{package}" in each else PACKAGES[:1])
    ]


def lines_of(*patterns: str) -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return sum(path.read_bytes().count(b"\n") for path in paths if path.is_file())


def measure(commands: list[list[str]]) -> tuple[int, int]:
    """Own modules at the end of a process that runs the commands, and own frames at its first step."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules, frames = json.loads(done.stdout.splitlines()[-1])
    return modules, frames


def check(measured: dict[str, int]) -> None:
    recorded = yaml.safe_load(BUDGETS.read_text())
    print()
    for name, value in measured.items():
        aim = recorded[name].get("aim", "")
        print(f"{name:60} {recorded[name]['before']:>7} {value:>7} {aim:>7}")
    limits = {name: each["last"] * TOLERANCE for name, each in recorded.items() if "last" in each}
    over = {name: value for name, value in measured.items() if value > limits.get(name, value)}
    assert over == {}, f"{over} is over the last recorded figures; tests/budgets.yaml says what to do"
