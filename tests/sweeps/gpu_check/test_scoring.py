"""Scoring is timed beside the forecast, on adapters that add something."""

from dataclasses import replace

import pytest
import torch

from portal.training.evaluator import Evaluator
from portal.training.pack import Pack
from sweeps.gpu_check import scoring
from sweeps.gpu_check.pace import Speed
from sweeps.gpu_check.scoring import measure_scoring
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import work_of
from sweeps.planning.cost_model import forward_tokens
from sweeps.planning.devices import Device, plain_cpu

ROWS = 2 * 64  # of both splits


@pytest.fixture(scope="module")
def world() -> ShapeWorld:
    return ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))


@pytest.fixture(scope="module")
def pack(world: ShapeWorld) -> Pack:
    runs = world.runs(("q", "v"), 1)
    pack = world.pack(runs, forward_tokens(runs, [work_of(world)], plain_cpu(1)))
    for _ in range(2):
        pack.step()
    return pack


@pytest.fixture(autouse=True)
def _one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scoring._TASKS, "cpu", ("copa",))


def score(world: ShapeWorld, pack: Pack, device: Device) -> Speed:
    return measure_scoring(world, pack, work_of(world), device, "a base")


def test_scoring_is_held_to_what_a_plan_says_of_it(world: ShapeWorld, pack: Pack) -> None:
    device = plain_cpu(1)

    scoring = score(world, pack, device)
    fast = replace(device, launch_s=1e-9, value_s=1e-12, flops=1e15, bytes_per_s=1e15)
    hopeful = score(world, pack, fast)

    (line,) = scoring.findings
    assert line.what.startswith(f"a base: scoring of {ROWS} rows in ")
    assert line.value == scoring.pace
    assert scoring.pace == scoring.measured_s / scoring.predicted_s > 0.005
    assert scoring.is_scoring
    assert [each.level for each in hopeful.findings] == ["WARN"]
    assert hopeful.predicted_s < 0.1 * scoring.predicted_s


def test_scores_that_are_no_numbers_end_the_check(
    world: ShapeWorld, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: "task 'copa': a score is not finite")

    with pytest.raises(FloatingPointError, match="copa"):
        score(world, pack, plain_cpu(1))
