"""What one command reaches, beside tests/budgets.yaml: the modules that it loads and the frames at a step.

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
ONE_RUN = """
name: one-run
suite: mini
tasks: [counting]
eval_size: 4
seeds: [0]
targets: [mini-qwen3-xs]
methods:
  lora:
    size: 2
    train: {epochs: 1, rounds_per_epoch: 1}
    adapter: {modules: [q, v], rank: 4}
"""
COUNTING = """
import json, sys, traceback
from pathlib import Path
from portal.cli import main
own = ("portal", "sweeps", "analysis", "cluster")
commands, frames, cluster = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def count_frames(*step):
    if not frames.exists():
        names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_stack(None)]
        frames.write_text(str(sum(name.split(".")[0] in own for name in names)))

def watch_steps():
    from torch.optim.optimizer import register_optimizer_step_pre_hook
    register_optimizer_step_pre_hook(count_frames)

if cluster:
    import ray
    from sweeps.launch.ray_session import quoted_python
    environment = {"worker_process_setup_hook": watch_steps, **quoted_python()}
    ray.init(cluster, log_to_driver=False, runtime_env=environment)
elif "run" in commands[0]:
    watch_steps()
for command in commands:
    assert main(command) == 0, command
print(sum(name.split(".")[0] in own for name in sys.modules))
"""
"""Runs commands in one process and prints how many own modules it has in the end.

The number of own frames at the first step goes to a file, also from a worker of the cluster that is named.
"""


@pytest.mark.slow
def test_modules_and_frames_stay_within_what_is_recorded(tmp_path: Path) -> None:
    study, out, frames = str(tmp_path / "tiny.yaml"), str(tmp_path / "out"), tmp_path / "frames"
    Path(study).write_text(TINY_DEMO)
    run = ["sweep", "run", study, "--out", out, "--executor", "local"]

    after_demo = modules_after([run, ["report", out]], frames)  # what `portal demo` does, in one process
    after_plan = modules_after([["sweep", "plan", study, "--out", out]], frames)
    after_report = modules_after([["report", out]], frames)

    check(
        {
            "own modules after demo": after_demo,
            "own modules after sweep plan": after_plan,
            "own modules after report": after_report,
            "own frames at a step, executor local": int(frames.read_text()),
        }
    )


@pytest.mark.slow
@pytest.mark.ray
def test_frames_in_a_worker_of_the_default_executor_stay_within_what_is_recorded(
    tmp_path: Path, ray_cluster: str
) -> None:
    study, out, frames = tmp_path / "one-run.yaml", tmp_path / "out", tmp_path / "frames"
    study.write_text(ONE_RUN)

    modules_after([["sweep", "run", str(study), "--out", str(out)]], frames, ray_cluster)

    check({"own frames at a step, executor auto": int(frames.read_text())})


def modules_after(commands: list[list[str]], frames: Path, cluster: str = "") -> int:
    """Own modules at the end of a process that runs the commands; own frames at its first step, in a file."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, json.dumps(commands), str(frames), cluster],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


def check(measured: dict[str, int]) -> None:
    recorded = yaml.safe_load(BUDGETS.read_text())
    print()
    for name, value in measured.items():
        print(f"{name:60} {recorded[name]['before']:>7} {value:>7}")
    over = {name: value for name, value in measured.items() if value > recorded[name]["last"] * TOLERANCE}
    assert over == {}, f"{over} is over the last recorded figures; tests/budgets.yaml says what to do"
