"""All checks run one after another, and leave a record that plans, launches and programs can read."""

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch

from portal.bases.precision import cpu_has_bf16
from portal.config import DeviceKind
from portal.device import ATTAINED
from sweeps.gpu_check import check, speed
from sweeps.gpu_check.check import RECORD, DeviceRecord, check_device
from sweeps.gpu_check.finding import NEEDS_BF16, Finding, bounded
from sweeps.gpu_check.neighbours import BOUND, Steps
from sweeps.gpu_check.rates import Rates
from sweeps.gpu_check.shape import BATCH, ShapeWorld
from sweeps.gpu_check.speed import Speed
from sweeps.gpu_check.world import CheckWorld
from sweeps.planning.devices import Device, as_checked, find_check, find_device, plain_cpu, processor_name
from tests.support.command_line import Portal

XS = "mini-qwen3-xs"
IN_BF16 = [f"{XS} in bf16"] if cpu_has_bf16() else []


@pytest.fixture(autouse=True)
def _one_worker(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of their own take seconds to start: tests/portal/cli/test_gpu_check.py has them."""
    monkeypatch.setattr(CheckWorld, "workers", 1)


def good(world: CheckWorld) -> Iterator[Finding]:
    yield bounded("error", 0.5, most=1.0)


def unmeasured(world: CheckWorld) -> Iterator[Finding]:
    yield bounded("error", math.nan, most=1.0)


def broken(world: CheckWorld) -> Iterator[Finding]:
    yield bounded("error", 0.5, most=1.0)
    raise RuntimeError("the device has\nfallen off the bus")


def check_xs(out: Path, **options: Any) -> DeviceRecord:
    return check_device("cpu", out, lambda *_: None, **{"checks": {}, "shape": XS, **options})


def test_the_record_has_every_line_and_what_it_was_measured_with_also_for_the_forecast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    devices: list[Device] = []
    measured = check.measure_speeds

    def measure(world: ShapeWorld, device: Device, is_late: Callable[[], bool]) -> Iterator[Speed | Finding]:
        devices.append(device)
        return measured(world, device, is_late)

    monkeypatch.setattr(check, "measure_speeds", measure)
    record = check_device(
        "cpu", tmp_path, lambda name, line: told.append(f"{name} {line}"), checks={"a": good}, shape=XS
    )

    written = json.loads((tmp_path / RECORD).read_text())
    assert told[0] == "a PASS  error: 0.5 (at most 1)"
    assert all(line.startswith("speed ") for line in told[1:])
    # Of a base: a step, scoring, and that there is one worker. Without bf16 a line says so.
    assert len(told) == 1 + 3 + (3 if IN_BF16 else 1)
    assert record.passed
    assert written["passed"]
    assert {path.name for path in tmp_path.iterdir()} == {
        RECORD,
        "cache",
    }  # nothing of what measured the disk
    assert 1e8 < record.rates.fp32_flops < 1e13
    assert 1e7 < record.rates.copy_bytes_per_s < 1e12
    assert 0 < record.rates.launch_s < 1e-2
    assert record.rates.write_bytes_per_s > 0
    assert (record.rates.tf32_flops, record.rates.upload_bytes_per_s) == (None, None)
    assert (record.rates.bf16_flops is not None) == cpu_has_bf16()
    assert written["device"] == "cpu"
    assert written["findings"]["a"][0]["bound"] == "at most 1"
    assert written["rates"]["fp32_flops"] == record.rates.fp32_flops
    assert written["versions"]["torch"]
    assert written["shape"] == XS
    assert written["pace"] == record.pace > 0
    assert (record.beside, record.bf16_beside) == (None, None)
    known = find_check(processor_name())
    assert known is not None
    assert (known.passed, known.pace, known.launch_s) == (True, record.pace, None)
    assert (known.flops, known.bf16_flops) == (record.rates.fp32_flops, record.rates.bf16_flops)
    assert known.bf16_pace == record.bf16_pace == written["bf16_pace"]
    assert known.scoring_pace == record.scoring_pace == written["scoring_pace"] > 0
    assert known.bf16_scoring_pace == record.bf16_scoring_pace
    assert (record.bf16_pace is not None, record.bf16_scoring_pace is not None) == (cpu_has_bf16(),) * 2
    scoring = [each for each in record.findings["speed"] if "scoring of" in each.what]
    assert scoring[0].value == pytest.approx(record.scoring_pace)
    assert len(devices) == 1 + len(IN_BF16)
    for device in devices:
        assert (device.pace, device.bf16_pace) == (1.0, None)
        assert device.rate("default") == pytest.approx(record.rates.fp32_flops / ATTAINED)
        if cpu_has_bf16():
            assert device.rate("bf16") == pytest.approx(record.rates.bf16_flops / ATTAINED)


def test_what_was_measured_of_a_gpu_is_known_to_plans() -> None:
    rates = Rates(
        fp32_flops=5e13,
        tf32_flops=4e14,
        bf16_flops=7e14,
        copy_bytes_per_s=1.5e12,
        upload_bytes_per_s=5e10,
        launch_s=6e-6,
        write_bytes_per_s=1e9,
    )
    name, date = "NVIDIA H100 80GB HBM3", "2026-12-01T07:00:00+00:00"
    findings = {"a": (bounded("error", 0.5, most=1.0),)}
    paces = (1.3, 1.4, None, None, None, 1.6, None)
    record = DeviceRecord("cuda", name, date, rates, "qwen3-1.7b", *paces, findings, 60.0)

    record.known().keep()
    gpu = find_device("h100")

    assert (gpu.pace, gpu.checked, gpu.launch_s, gpu.bytes_per_s) == (1.3, "2026-12-01", 6e-6, 3e12)
    assert [gpu.scoring_pace_in(precision) for precision in ("default", "bf16")] == [1.6, 1.6]
    assert ATTAINED * gpu.flops == pytest.approx(7e14)
    assert ATTAINED * gpu.hypernet_rate("fp32") == pytest.approx(5e13)
    assert ATTAINED * gpu.hypernet_rate("tf32") == pytest.approx(4e14)


def test_what_workers_take_from_each_other_is_known_to_plans_of_several_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, DeviceKind, bool, int, int]] = []

    def beside(steps: Steps, count: int) -> tuple[tuple[Finding, ...], float]:
        ref = steps.base
        asked.append((ref.name, ref.precision, steps.kind, steps.is_random, steps.batch, count))
        assert steps.device.memory_bytes == plain_cpu(1).memory_bytes / 2
        return (bounded("a step of two workers at once", 1.5, most=BOUND, otherwise="WARN"),), 1.5

    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "check_neighbours", beside)

    record = check_xs(tmp_path)

    in_bf16 = [(XS, "bf16", "cpu", True, 1, 2)] if cpu_has_bf16() else []
    assert asked == [(XS, "default", "cpu", True, BATCH, 2), *in_bf16]
    lines = [each for each in record.findings["speed"] if each.what == "a step of two workers at once"]
    assert [each.level for each in lines] == ["WARN"] * len(asked)
    assert (record.beside, record.bf16_beside) == (1.5, 1.5 if cpu_has_bf16() else None)
    for cores, ratio in ((1, 1.0), (2, 1.5)):
        device = as_checked(plain_cpu(cores), record.known())
        assert device.pace_in("default") == ratio * record.pace
        if cpu_has_bf16():
            assert device.pace_in("bf16") == ratio * record.bf16_pace


def test_workers_that_cannot_be_timed_leave_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of theirs is a line that failed; packs that do not fit together are one that was skipped."""

    def lost(steps: Steps, count: int) -> tuple[tuple[Finding, ...], float]:
        raise BrokenProcessPool("a process was killed")

    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "check_neighbours", lost)
    failed = check_xs(tmp_path)
    monkeypatch.setattr(Steps, "fit", lambda *_: False)
    unfit = check_xs(tmp_path, shape=None, base=XS)  # timed with its own weights

    assert unfit.shape == XS
    for record, level, note in (
        (failed, "FAIL", "a process was killed"),
        (unfit, "SKIP", "2 packs do not fit the memory"),
    ):
        findings = record.findings["speed"]
        lines = [each for each in findings if each.level == level and each.note != NEEDS_BF16]
        assert [each.note for each in lines] == [note] * (1 + len(IN_BF16))
        assert record.pace is not None
        assert record.beside is None
        assert record.passed == (level == "SKIP")


def test_a_line_that_failed_an_error_or_no_number_ends_no_other_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(check, "measure", full)

    record = check_xs(tmp_path, checks={"bad": broken, "a": unmeasured, "good": good}, shape="mini-qwen3-xxs")

    assert {name: [each.level for each in lines] for name, lines in record.findings.items()} == {
        "bad": ["PASS", "FAIL"],
        "a": ["FAIL"],
        "good": ["PASS"],
        "rates": ["FAIL"],
        "speed": ["FAIL"],
    }
    assert record.findings["bad"][1].note == "the device has fallen off the bus"
    assert record.findings["rates"][0].note == "the device is full"
    assert "mini-qwen3-xxs" in record.findings["speed"][0].note
    assert (record.rates, record.pace, record.passed) == (None, None, False)
    (line,) = json.loads((tmp_path / RECORD).read_text(), parse_constant=pytest.fail)["findings"]["a"]
    assert line["value"] is None


def test_lines_that_there_is_no_time_for_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "LAST_START_S", 0.0)
    monkeypatch.setitem(speed._RECOMPUTING, "cpu", (1,))

    record = check_xs(tmp_path, checks={"a": good})

    late = [each for found in record.findings.values() for each in found if "left out" in each.note]
    assert [each.level for each in record.findings["a"]] == ["PASS"]
    assert [(each.level, each.what) for each in late] == [
        ("WARN", f"{XS}, q and v, 1 learner, activations recomputed: a step"),
        ("WARN", f"{XS}: steps of several workers at once"),
        *(("WARN", f"{name}: steps and scoring") for name in IN_BF16),
    ]
    assert record.passed
    assert record.pace is not None
    assert record.scoring_pace is not None
    assert (record.beside, record.bf16_pace) == (None, None)


def test_the_command_prints_lines_rates_and_a_verdict(
    monkeypatch: pytest.MonkeyPatch, portal: Portal
) -> None:
    command = f"gpu-check --device cpu --out . --shape {XS}"
    monkeypatch.setitem(check.check_device.__kwdefaults__, "checks", {"bad": broken})

    lines = portal(command, code=3).lines
    monkeypatch.setattr(check, "measure_speeds", lambda *_: iter(()))
    record = portal(f"{command} --json", code=3).json

    assert lines[:2] == [
        "PASS  error: 0.5 (at most 1)",
        "FAIL  the check ended in an error; the device has fallen off the bus",
    ]
    assert any(line.startswith("rate  products in fp32: ") for line in lines)
    for line, what in ((lines[-3], "steps take"), (lines[-2], "scoring takes")):
        assert line.startswith(f"pace  {what} ")
        assert line.endswith(" with bases in bf16") == cpu_has_bf16()
    assert lines[-1].startswith(f"{processor_name()}: some lines failed, ")
    assert record["passed"] is False
