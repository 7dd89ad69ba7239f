"""Steps are timed beside the forecast, and a line says when plans are not to be relied on."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.config import Activations, HypernetConfig, paper_hidden
from portal.device import KNOWN_GPUS
from portal.forward.microbatch import gpu_launch_cost
from sweeps.gpu_check import scoring, speed
from sweeps.gpu_check.finding import Finding, at_most
from sweeps.gpu_check.pace import Speed
from sweeps.gpu_check.shape import ShapeWorld, random_base
from sweeps.gpu_check.speed import check_fragmentation, check_peak, measure_speeds, work_of
from sweeps.planning.cost_model import forward_tokens, step_seconds
from sweeps.planning.devices import GPUS, plain_cpu
from sweeps.planning.memory import decoder_shape
from sweeps.planning.workload import sample_step
from tests.support.markdown import DOCS


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> ShapeWorld:
    monkeypatch.setattr(speed, "ADAPTED", {"q and v": ("q", "v")})
    monkeypatch.setitem(speed._COUNTS, "cpu", (1,))
    monkeypatch.setitem(speed._STEPS, "cpu", 1)
    monkeypatch.setitem(speed._RECOMPUTING, "cpu", ())
    return ShapeWorld(random_base("mini-qwen3-xs", torch.device("cpu")))


def only(found: list[Speed | Finding]) -> Speed:
    (one,) = (each for each in found if isinstance(each, Speed) and not each.is_scoring)
    return one


def test_a_step_is_held_to_what_a_plan_says_of_it(world: ShapeWorld, tmp_path: Path) -> None:
    device = plain_cpu(1)

    first = only(list(measure_speeds(world, device, tmp_path)))
    hopeful = only(list(measure_speeds(world, replace(device, launch_s=1e-9, value_s=1e-12), tmp_path)))

    assert 0.005 < first.pace < 200  # a machine that does other things, too
    assert "mini-qwen3-xs, q and v, 1 learner: a step of" in first.findings[0].what
    assert hopeful.findings[0].level == "WARN"
    assert hopeful.predicted_s < 0.2 * first.predicted_s


def test_the_first_pack_scores_rows_and_writes_checkpoints(world: ShapeWorld, tmp_path: Path) -> None:
    products, _, scoring, *checkpoints = measure_speeds(world, plain_cpu(1), tmp_path)

    assert isinstance(products, Finding)
    assert products.what == "mini-qwen3-xs: rate of its matrices' products over that of large ones"
    assert isinstance(scoring, Speed)
    assert scoring.is_scoring
    named = [each.what for each in checkpoints if isinstance(each, Finding)]
    assert len(named) == 2
    assert all(what.startswith("mini-qwen3-xs, q and v, 1 learner: a checkpoint of ") for what in named)


def test_steps_that_compute_activations_again_are_lines_and_no_part_of_the_pace(
    world: ShapeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(speed._RECOMPUTING, "cpu", (2,))
    recomputed: list[Activations] = []
    step_time = speed.step_seconds

    def note(*args: Any, **options: Any) -> float:
        recomputed.append(args[4])
        return step_time(*args, **options)

    monkeypatch.setattr(speed, "step_seconds", note)

    found = list(measure_speeds(world, plain_cpu(1), tmp_path))

    only(found)  # with what is a pace
    last = found[-1]
    assert isinstance(last, Finding)
    assert last.what.startswith("mini-qwen3-xs, q and v, 2 learners, activations recomputed: a step of ")
    assert recomputed == ["keep", "recompute"]


def test_an_error_between_steps_is_a_line_that_failed_and_the_packs_go_on(
    world: ShapeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[Finding]:
        yield at_most("error", 0.5, 1.0)
        raise OSError("the disk is full")

    monkeypatch.setitem(speed._COUNTS, "cpu", (1, 2))
    monkeypatch.setattr(speed, "check_products", fail)
    monkeypatch.setattr(speed, "check_checkpoints", fail)

    found = list(measure_speeds(world, plain_cpu(1), tmp_path))

    assert len([each for each in found if isinstance(each, Speed) and not each.is_scoring]) == 2
    failed = [each.note for each in found if isinstance(each, Finding) and each.level == "FAIL"]
    assert failed == ["the disk is full"] * 2


def test_on_a_gpu_a_pack_has_lines_of_its_memory(
    world: ShapeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ShapeWorld, "kind", "cuda")
    monkeypatch.setitem(scoring._TASKS, "cuda", ("copa",))
    monkeypatch.setitem(speed._COUNTS, "cuda", (1,))
    monkeypatch.setitem(speed._RECOMPUTING, "cuda", (1,))
    monkeypatch.setitem(speed._STEPS, "cuda", 5)
    monkeypatch.setattr(speed, "_STEPS_SECONDS", 1e-9)  # one step is enough
    monkeypatch.setattr(speed, "_MANY_STEPS", 2)
    monkeypatch.setattr(speed, "_MANY_SECONDS", 1e9)
    peak = speed.peak_memory
    predicted: list[float] = []

    def note(*args: Any, **options: Any) -> float:
        predicted.append(peak(*args, **options))
        return predicted[-1]

    monkeypatch.setattr(speed, "peak_memory", note)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: predicted[-1])
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 1.5 * predicted[-1])

    found = list(measure_speeds(world, plain_cpu(1), tmp_path))

    kept = only(found)
    for lines, name in ((kept.findings, "1 learner"), (found[-3:], "1 learner, activations recomputed")):
        _, needed, held = lines
        assert isinstance(needed, Finding)
        assert isinstance(held, Finding)
        what = f"mini-qwen3-xs, q and v, {name}"
        assert (needed.what, needed.level) == (f"{what}: peak memory over the forecast", "PASS")
        assert held.what == f"{what}, after 2 steps: memory held over the most that was in use"
        assert held.level == "WARN"


@pytest.mark.parametrize(("held", "level"), [(1.1, "PASS"), (1.2, "WARN")])
def test_memory_that_lies_in_gaps_is_found(held: float, level: str) -> None:
    line = check_fragmentation("a pack", held * 2e9, 2e9)

    assert (line.what, line.level) == ("a pack: memory held over the most that was in use", level)


def test_a_pack_that_does_not_fit_is_a_line_of_its_own(world: ShapeWorld, tmp_path: Path) -> None:
    _, line = measure_speeds(world, replace(plain_cpu(1), memory_bytes=1000.0), tmp_path)

    assert isinstance(line, Finding)
    assert line.level == "SKIP"
    assert "does not fit" in line.note


@pytest.mark.parametrize(("measured", "level"), [(1.0, "PASS"), (0.8, "WARN"), (1.2, "WARN")])
def test_a_peak_of_memory_is_held_to_the_forecast(measured: float, level: str) -> None:
    line = check_peak("a pack", measured * 2e9, 2e9)

    assert (line.what, line.level) == ("a pack: peak memory over the forecast", level)


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
