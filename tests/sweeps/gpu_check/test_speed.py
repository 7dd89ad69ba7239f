"""Steps are timed beside the forecast, and a line says when plans are not to be relied on."""

from dataclasses import replace

import pytest
import torch

from sweeps.gpu_check import speed
from sweeps.gpu_check.finding import Finding
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import Speed, measure_speeds, pace_of
from sweeps.planning.devices import plain_cpu


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> ShapeWorld:
    monkeypatch.setattr(speed, "ADAPTED", {"q and v": ("q", "v")})
    monkeypatch.setitem(speed._COUNTS, "cpu", (1,))
    monkeypatch.setitem(speed._STEPS, "cpu", 1)
    return ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))


def only(found: list[Speed | Finding]) -> Speed:
    (one,) = found
    assert isinstance(one, Speed)
    return one


def test_a_step_is_held_to_what_a_plan_says_of_it(world: ShapeWorld) -> None:
    device = plain_cpu(1)

    first = only(list(measure_speeds(world, device)))
    hopeful = only(list(measure_speeds(world, replace(device, launch_s=1e-9, value_s=1e-12, module_s=1e-12))))

    assert 0.005 < first.pace < 200  # a machine that does other things, too
    assert "mini-qwen3-xs, q and v, 1 learner: a step of" in first.findings[0].what
    assert hopeful.findings[0].level == "WARN"
    assert hopeful.predicted_s < 0.2 * first.predicted_s


def test_a_pack_that_does_not_fit_is_a_line_of_its_own(world: ShapeWorld) -> None:
    (line,) = measure_speeds(world, replace(plain_cpu(1), memory_bytes=1000.0))

    assert isinstance(line, Finding)
    assert line.level == "SKIP"
    assert "does not fit" in line.note


def test_the_pace_is_the_geometric_mean() -> None:
    assert pace_of([Speed(1.0, 2.0, ()), Speed(2.0, 1.0, ())]) == pytest.approx(1.0)
    assert pace_of([Speed(3.0, 1.0, ())]) == pytest.approx(3.0)
