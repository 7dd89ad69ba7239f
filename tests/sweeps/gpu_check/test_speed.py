"""Steps and scoring are timed beside the forecast, and a line says when plans are not to be relied on."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from portal.config import HypernetConfig, paper_hidden
from portal.device import KNOWN_GPUS
from portal.forward.microbatch import gpu_launch_cost
from portal.training.evaluator import Evaluator
from sweeps.gpu_check import speed
from sweeps.gpu_check.finding import Finding
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import Speed, check_peak, measure_scoring, measure_speeds, pace_of, work_of
from sweeps.planning.cost_model import forward_tokens, step_seconds
from sweeps.planning.devices import GPUS, plain_cpu
from sweeps.planning.memory import decoder_shape
from sweeps.planning.workload import sample_step
from tests.support.markdown import DOCS

ROWS = 2 * 64  # of both splits


@pytest.fixture
def world(short: None) -> ShapeWorld:
    return ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))


def steps_of(found: list[Speed | Finding]) -> list[Speed]:
    return [each for each in found if isinstance(each, Speed) and not each.is_scoring]


def noted(
    monkeypatch: pytest.MonkeyPatch, name: str, what: Callable[[tuple[Any, ...], Any], Any]
) -> list[Any]:
    """What is of interest in the arguments and the results of a function that `speed` calls."""
    found, real = list[Any](), getattr(speed, name)

    def note(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        found.append(what(args, result))
        return result

    monkeypatch.setattr(speed, name, note)
    return found


def test_steps_and_scoring_are_held_to_what_a_plan_says_of_them_and_recomputing_ones_are_a_line(
    world: ShapeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = plain_cpu(1)
    fast = replace(device, launch_s=1e-9, value_s=1e-12, flops=1e15, bytes_per_s=1e15)
    monkeypatch.setitem(speed._RECOMPUTING, "cpu", (2,))
    recomputed = noted(monkeypatch, "step_seconds", lambda args, _: args[4])

    step, scoring, again = measure_speeds(world, device)
    assert recomputed == ["keep", "recompute"]
    hopeful = [*measure_speeds(world, fast)][:2]

    for each, what in (
        (step, "mini-qwen3-xs, q and v, 1 learner: a step of "),
        (scoring, f"mini-qwen3-xs: scoring of {ROWS} rows in "),
    ):
        assert isinstance(each, Speed)
        (line,) = each.findings
        assert line.what.startswith(what)
        assert line.value == each.pace == each.measured_s / each.predicted_s
        assert 0.005 < each.pace < 200  # a machine that does other things, too
        assert each.is_scoring == (each is scoring)
    for unhurried, hurried in zip((step, scoring), hopeful, strict=True):
        assert isinstance(unhurried, Speed)
        assert isinstance(hurried, Speed)
        assert [line.level for line in hurried.findings] == ["WARN"]
        assert hurried.predicted_s < 0.2 * unhurried.predicted_s
    assert isinstance(again, Finding)  # which has no part in the pace
    assert again.what.startswith("mini-qwen3-xs, q and v, 2 learners, activations recomputed: a step of ")


def test_the_pace_is_the_geometric_mean() -> None:
    assert pace_of([Speed(1.0, 2.0, ()), Speed(2.0, 1.0, ())]) == pytest.approx(1.0)
    assert pace_of([Speed(3.0, 1.0, ())]) == pytest.approx(3.0)
    assert pace_of([]) is None


def test_an_error_of_scoring_is_a_line_that_failed_and_the_packs_go_on(
    world: ShapeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[Speed]:
        raise OSError("the disk is full")
        yield

    monkeypatch.setitem(speed._COUNTS, "cpu", (1, 2))
    monkeypatch.setattr(speed, "measure_scoring", fail)

    found = list(measure_speeds(world, plain_cpu(1)))

    assert len(steps_of(found)) == 2
    assert [each.note for each in found if isinstance(each, Finding)] == ["the disk is full"]


def test_scores_that_are_no_numbers_end_the_check(world: ShapeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "evaluate", lambda *_: "task 'copa': a score is not finite")
    pack = world.pack(world.runs(("q", "v"), 1), {})

    with pytest.raises(FloatingPointError, match="copa"):
        list(measure_scoring(world, pack, plain_cpu(1)))


def test_on_a_gpu_a_pack_has_a_line_of_its_memory(world: ShapeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShapeWorld, "kind", "cuda")
    monkeypatch.setitem(speed._RECOMPUTING, "cuda", (1,))
    predicted = noted(monkeypatch, "peak_memory", lambda _, found: found)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: predicted[-1])

    found = list(measure_speeds(world, plain_cpu(1)))

    (kept,) = steps_of(found)
    for line, name in ((kept.findings[-1], "1 learner"), (found[-1], "1 learner, activations recomputed")):
        assert isinstance(line, Finding)
        what = f"mini-qwen3-xs, q and v, {name}: peak memory over the forecast"
        assert (line.what, line.level) == (what, "PASS")


def test_a_pack_that_does_not_fit_is_a_line_of_its_own(world: ShapeWorld) -> None:
    (line,) = measure_speeds(world, replace(plain_cpu(1), memory_bytes=1000.0))

    assert isinstance(line, Finding)
    assert line.level == "SKIP"
    assert "does not fit" in line.note


def test_a_peak_of_memory_is_held_to_the_forecast() -> None:
    lines = [check_peak("a pack", measured * 2e9, 2e9) for measured in (1.0, 0.8, 1.2)]

    assert [line.level for line in lines] == ["PASS", "WARN", "WARN"]
    assert {line.what for line in lines} == {"a pack: peak memory over the forecast"}


@pytest.mark.parametrize(
    ("base", "gpu", "counted_ms", "target_ms"),
    [
        ("qwen3-8b", "b200", (91, 226, 554), (80, 230, 600)),
        ("qwen3-8b", "h100", (171, 475, 1255), (170, 500, 1350)),
        ("qwen3-1.7b", "b200", (29, 67, 137), (30, 50, 115)),
    ],
)
def test_steps_by_count_are_what_the_page_of_gpu_benchmarks_says(
    base: str, gpu: str, counted_ms: tuple[int, ...], target_ms: tuple[int, ...]
) -> None:
    """Of packs of 1, 3 and 8 with q and v; changes of planning or of launches show here.

    Targets that the page has as met stay so.
    """
    shape = ShapeWorld(random_base(base, torch.device("meta")))
    full = {"hypernet": HypernetConfig(hidden=paper_hidden(("q", "v")))}
    found = []
    for count in (1, 3, 8):
        runs = [run.model_copy(update=full) for run in shape.runs(("q", "v"), count)]
        works = [work_of(shape)] * count
        most = forward_tokens(runs, works, GPUS[gpu])[base]
        found.append(1000 * step_seconds(runs, works, base, GPUS[gpu], max_tokens=most))

    assert found == pytest.approx(counted_ms, rel=0.03)
    for ms, counted, target in zip(found, counted_ms, target_ms, strict=True):
        assert counted > target or ms <= target
    page = (DOCS / "benchmarks-gpu.md").read_text().replace(",", "").replace("(target ", "(")
    row = next(line for line in page.splitlines() if line.lower().startswith(f"| {base} | {gpu} "))
    cells = [(int(counted), int(target)) for counted, target in re.findall(r"\| (\d+) \((\d+)\)", row)]
    assert cells == list(zip(counted_ms, target_ms, strict=True))


@pytest.mark.parametrize("base", ["qwen3-8b", "gemma-3-4b"])
def test_a_step_of_eight_learners_has_little_padding(base: str) -> None:
    """Rows of fourteen tasks, as long as the public ones; launches and arithmetic of data sheets."""
    work, shape = work_of(ShapeWorld(random_base(base, torch.device("meta")))), decoder_shape(base)
    for gpu in ("H100", "B200"):
        cost = gpu_launch_cost(KNOWN_GPUS[gpu], shape.layers, shape.active_params, 2, "fused")
        step = sample_step([work] * 8, cost, on_gpu=True)
        assert step.real_tokens > 8 * 14 * 4 * 10
        assert 1.0 <= step.padding < 1.25
