"""Steps are timed beside the forecast, and a line says when plans are not to be relied on."""

import re
from dataclasses import replace

import pytest
import torch

from portal.config import HypernetConfig, paper_hidden
from portal.device_rates import KNOWN_GPUS
from portal.forward.microbatch_plan import gpu_launch_cost
from sweeps.gpu_check import speed
from sweeps.gpu_check.finding import Finding
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import Speed, check_peak, measure_speeds, pace_of, work_of
from sweeps.planning.cost_model import forward_tokens
from sweeps.planning.devices import GPUS, plain_cpu
from sweeps.planning.memory import decoder_shape
from sweeps.planning.planned_step import sample_step
from sweeps.planning.step_time import step_seconds
from tests.support.markdown import DOCS


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
    hopeful = only(list(measure_speeds(world, replace(device, launch_s=1e-9, value_s=1e-12))))

    assert 0.005 < first.pace < 200  # a machine that does other things, too
    assert "mini-qwen3-xs, q and v, 1 learner: a step of" in first.findings[0].what
    assert hopeful.findings[0].level == "WARN"
    assert hopeful.predicted_s < 0.2 * first.predicted_s


def test_a_pack_that_does_not_fit_is_a_line_of_its_own(world: ShapeWorld) -> None:
    (line,) = measure_speeds(world, replace(plain_cpu(1), memory_bytes=1000.0))

    assert isinstance(line, Finding)
    assert line.level == "SKIP"
    assert "does not fit" in line.note


@pytest.mark.parametrize(("measured", "level"), [(1.0, "PASS"), (0.8, "WARN"), (1.2, "WARN")])
def test_a_peak_of_memory_is_held_to_the_forecast(measured: float, level: str) -> None:
    line = check_peak("a pack", measured * 2e9, 2e9)

    assert (line.what, line.level) == ("a pack: peak memory over the forecast", level)


def test_the_pace_is_the_geometric_mean() -> None:
    assert pace_of([Speed(1.0, 2.0, ()), Speed(2.0, 1.0, ())]) == pytest.approx(1.0)
    assert pace_of([Speed(3.0, 1.0, ())]) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("base", "gpu", "counted_ms"),
    [
        ("qwen3-8b", "b200", (89, 227, 592)),
        ("qwen3-8b", "h100", (173, 473, 1252)),
        ("qwen3-1.7b", "b200", (30, 67, 136)),
    ],
)
def test_steps_by_count_are_what_the_page_of_gpu_benchmarks_says(
    base: str, gpu: str, counted_ms: tuple[int, ...]
) -> None:
    """Of packs of 1, 3 and 8 with q and v; changes of planning or of launches show here."""
    shape = ShapeWorld(random_base(base, torch.device("meta")))
    full = {"hypernet": HypernetConfig(hidden=paper_hidden(("q", "v")))}
    found = []
    for count in (1, 3, 8):
        runs = [run.model_copy(update=full) for run in shape.runs(("q", "v"), count)]
        works = [work_of(shape)] * count
        most = forward_tokens(runs, works, GPUS[gpu])[base]
        found.append(1000 * step_seconds(runs, works, base, GPUS[gpu], max_tokens=most))

    assert found == pytest.approx(counted_ms, rel=0.03)
    page = (DOCS / "benchmarks-gpu.md").read_text().replace(",", "").replace(" (", " |")
    row = next(line for line in page.splitlines() if line.lower().startswith(f"| {base} | {gpu} "))
    assert [int(cell) for cell in re.findall(r"\| (\d+) \|", row)] == list(counted_ms)


@pytest.mark.parametrize("gpu", ["H100", "B200"])
@pytest.mark.parametrize("base", ["qwen3-8b", "gemma-3-4b"])
def test_a_step_of_eight_learners_has_little_padding(base: str, gpu: str) -> None:
    """Rows of fourteen tasks, as long as the public ones; launches and arithmetic of data sheets."""
    work = work_of(ShapeWorld(random_base(base, torch.device("meta"))))
    shape = decoder_shape(base)
    cost = gpu_launch_cost(KNOWN_GPUS[gpu], shape.layers, shape.active_params, 2, "fused")

    step = sample_step([work] * 8, cost, on_gpu=True)

    assert step.real_tokens > 8 * 14 * 4 * 10
    assert 1.0 <= step.padding < 1.25
