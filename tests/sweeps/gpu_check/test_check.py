"""All checks run one after another, and leave a record that a program can read."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import huggingface_hub
import pytest
import torch

from portal.bases.precision import cpu_has_bf16
from portal.cli import main
from portal.config import DeviceKind
from portal.device import ATTAINED
from sweeps.gpu_check import check
from sweeps.gpu_check.check import RECORD, DeviceRecord, check_device
from sweeps.gpu_check.finding import Finding, at_most
from sweeps.gpu_check.neighbours import BOUND, Steps
from sweeps.gpu_check.pace import Speed
from sweeps.gpu_check.rates import Rates
from sweeps.gpu_check.shape import BATCH, ShapeWorld
from sweeps.gpu_check.world import CheckWorld
from sweeps.planning.devices import Device, as_checked, find_check, find_device, plain_cpu, processor_name


@pytest.fixture(autouse=True)
def _one_worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of their own take seconds to start: only the check of all lines has them."""
    if request.node.get_closest_marker("ray") is None:
        monkeypatch.setattr(CheckWorld, "workers", 1)


def good(world: CheckWorld) -> Iterator[Finding]:
    yield at_most("error", 0.5, 1.0)


def unmeasured(world: CheckWorld) -> Iterator[Finding]:
    yield at_most("error", math.nan, 1.0)


def broken(world: CheckWorld) -> Iterator[Finding]:
    yield at_most("error", 0.5, 1.0)
    raise RuntimeError("the device has\nfallen off the bus")


def test_the_record_has_every_line_and_what_it_was_measured_with(tmp_path: Path) -> None:
    told: list[str] = []

    record = check_device(
        "cpu",
        tmp_path,
        lambda name, line: told.append(f"{name} {line}"),
        checks={"a": good},
        shape="mini-qwen3-xs",
    )

    written = json.loads((tmp_path / RECORD).read_text())
    assert told[0] == "a PASS  error: 0.5 (at most 1)"
    assert all(line.startswith("speed ") for line in told[1:])
    in_bf16 = [line for line in told if "mini-qwen3-xs in bf16" in line and "workers" not in line]
    assert (len(told), len(in_bf16)) == ((18, 6) if cpu_has_bf16() else (11, 0))
    assert record.passed
    assert written["passed"]
    assert written["device"] == "cpu"
    assert written["findings"]["a"][0]["bound"] == "at most 1"
    assert written["rates"]["fp32_flops"] == record.rates.fp32_flops
    assert written["versions"]["torch"]
    assert written["shape"] == "mini-qwen3-xs"
    assert written["pace"] == record.pace > 0
    assert [each["level"] for each in written["findings"]["speed"]] != []
    assert (record.beside, record.bf16_beside) == (None, None)  # there is one worker
    known = find_check(processor_name())
    assert known is not None
    assert (known.passed, known.pace, known.launch_s) == (True, record.pace, None)
    assert (known.flops, known.bf16_flops) == (record.rates.fp32_flops, record.rates.bf16_flops)
    assert known.bf16_pace == record.bf16_pace == written["bf16_pace"]
    assert (record.bf16_pace is not None) == cpu_has_bf16()
    assert known.scoring_pace == record.scoring_pace == written["scoring_pace"] > 0
    assert known.bf16_scoring_pace == record.bf16_scoring_pace
    assert (record.bf16_scoring_pace is not None) == cpu_has_bf16()
    scoring = [each for each in record.findings["speed"] if "scoring of" in each.what]
    assert scoring[0].value == pytest.approx(record.scoring_pace)


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
    findings = {"a": (at_most("error", 0.5, 1.0),)}
    paces = (1.3, 1.4, None, None, None, 1.6, None)
    record = DeviceRecord("cuda", name, date, rates, "qwen3-1.7b", *paces, findings, 60.0)

    record.known().keep()
    gpu = find_device("h100")

    assert (gpu.pace, gpu.checked, gpu.launch_s, gpu.bytes_per_s) == (1.3, "2026-12-01", 6e-6, 3e12)
    assert [gpu.scoring_pace_in(precision) for precision in ("default", "bf16")] == [1.6, 1.6]
    assert ATTAINED * gpu.flops == pytest.approx(7e14)
    assert ATTAINED * gpu.hypernet_rate("fp32") == pytest.approx(5e13)
    assert ATTAINED * gpu.hypernet_rate("tf32") == pytest.approx(4e14)


def test_steps_are_held_to_a_forecast_with_the_rates_that_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[Device] = []
    measured = check.measure_speeds

    def told(
        world: ShapeWorld, device: Device, out: Path, is_late: Callable[[], bool]
    ) -> Iterator[Speed | Finding]:
        devices.append(device)
        assert out == tmp_path
        return measured(world, device, out, is_late)

    monkeypatch.setattr(check, "measure_speeds", told)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={}, shape="mini-qwen3-xs")

    assert len(devices) == (2 if cpu_has_bf16() else 1)
    for device in devices:
        assert (device.pace, device.bf16_pace) == (1.0, None)
        assert device.rate("default") == pytest.approx(record.rates.fp32_flops / ATTAINED)
        if cpu_has_bf16():
            assert device.rate("bf16") == pytest.approx(record.rates.bf16_flops / ATTAINED)


def test_what_workers_take_from_each_other_is_known_to_plans_of_several_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, DeviceKind, bool, int, int]] = []

    def beside(steps: Steps, count: int) -> tuple[tuple[Finding, ...], float]:
        ref = steps.base
        asked.append((ref.name, ref.precision, steps.kind, steps.is_random, steps.batch, count))
        assert steps.device.memory_bytes == plain_cpu(1).memory_bytes / 2
        return (at_most("a step of two workers at once", 1.5, BOUND, otherwise="WARN"),), 1.5

    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "check_neighbours", beside)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={}, shape="mini-qwen3-xs")

    in_bf16 = [("mini-qwen3-xs", "bf16", "cpu", True, 1, 2)] if cpu_has_bf16() else []
    assert asked == [("mini-qwen3-xs", "default", "cpu", True, BATCH, 2), *in_bf16]
    lines = [each for each in record.findings["speed"] if each.what == "a step of two workers at once"]
    assert [each.level for each in lines] == ["WARN"] * len(asked)
    assert (record.beside, record.bf16_beside) == (1.5, 1.5 if cpu_has_bf16() else None)
    for cores, ratio in ((1, 1.0), (2, 1.5)):
        device = as_checked(plain_cpu(cores), record.known())
        assert device.pace_in("default") == ratio * record.pace
        if cpu_has_bf16():
            assert device.pace_in("bf16") == ratio * record.bf16_pace


def test_workers_that_cannot_be_timed_are_a_line_that_failed_beside_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(steps: Steps, count: int) -> tuple[tuple[Finding, ...], float]:
        raise BrokenProcessPool("a process was killed")

    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "check_neighbours", lost)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={}, shape="mini-qwen3-xs")

    failed = [each for each in record.findings["speed"] if each.level == "FAIL"]
    assert {each.note for each in failed} == {"a process was killed"}
    assert record.pace is not None
    assert record.beside is None
    assert (record.bf16_pace is not None) == cpu_has_bf16()


def test_workers_whose_packs_do_not_fit_together_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(Steps, "fit", lambda *_: False)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={}, shape="mini-qwen3-xs")

    skipped = [each for each in record.findings["speed"] if each.level == "SKIP"]
    assert {each.note for each in skipped} == {"2 packs do not fit the memory"}
    assert record.passed


def test_a_check_that_ends_in_an_error_is_a_line_that_failed_and_the_next_one_runs(tmp_path: Path) -> None:
    record = check_device(
        "cpu", tmp_path, lambda *_: None, checks={"bad": broken, "good": good}, shape="mini-qwen3-xs"
    )

    assert [each.level for each in record.findings["bad"]] == ["PASS", "FAIL"]
    assert record.findings["bad"][1].note == "the device has fallen off the bus"
    assert [each.level for each in record.findings["good"]] == ["PASS"]
    assert not record.passed


def test_what_is_no_number_is_null_in_the_record_and_a_line_that_failed(tmp_path: Path) -> None:
    record = check_device("cpu", tmp_path, lambda *_: None, checks={"a": unmeasured}, shape="mini-qwen3-xs")

    (line,) = json.loads((tmp_path / RECORD).read_text(), parse_constant=pytest.fail)["findings"]["a"]
    assert (line["level"], line["value"]) == ("FAIL", None)
    assert not record.passed


def test_rates_that_cannot_be_measured_are_a_line_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(check, "measure", full)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={"good": good}, shape="mini-qwen3-xs")

    assert record.rates is None
    assert [each.note for each in record.findings["rates"]] == ["the device is full"]
    assert not record.passed


def test_lines_that_there_is_no_time_for_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(check, "LAST_START_S", 0.0)

    record = check_device("cpu", tmp_path, lambda *_: None, checks={"a": good}, shape="mini-qwen3-xs")

    late = [each for found in record.findings.values() for each in found if "left out" in each.note]
    assert [each.level for each in late] == ["WARN"] * len(late)
    in_bf16 = ["mini-qwen3-xs in bf16: steps and scoring"] if cpu_has_bf16() else []
    assert [each.level for each in record.findings["a"]] == ["PASS"]
    assert [each.what for each in late] == [
        "mini-qwen3-xs, q and v, 1 learner, activations recomputed: a step",
        "mini-qwen3-xs: steps of several workers at once",
        *in_bf16,
    ]
    assert record.passed
    assert record.pace is not None
    assert record.scoring_pace is not None
    assert (record.beside, record.bf16_pace) == (None, None)


def test_a_shape_that_is_not_known_is_a_line_that_failed(tmp_path: Path) -> None:
    record = check_device("cpu", tmp_path, lambda *_: None, checks={"good": good}, shape="mini-qwen3-xxs")

    (line,) = record.findings["speed"]
    assert line.level == "FAIL"
    assert "mini-qwen3-xxs" in line.note
    assert record.pace is None


def test_the_command_prints_lines_rates_and_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["gpu-check", "--device", "cpu", "--out", str(tmp_path), "--shape", "mini-qwen3-xs"]
    monkeypatch.setattr(
        check.check_device,
        "__kwdefaults__",
        {"checks": {"bad": broken}, "shape": None, "base": None, "gpus": None},
    )

    assert main(command) == 3
    printed = capsys.readouterr().out.splitlines()
    assert main([*command, "--json"]) == 3
    record = json.loads(capsys.readouterr().out)

    assert printed[:2] == [
        "PASS  error: 0.5 (at most 1)",
        "FAIL  the check ended in an error; the device has fallen off the bus",
    ]
    assert any(line.startswith("rate  products in fp32: ") for line in printed)
    for line, what in ((printed[-3], "steps take"), (printed[-2], "scoring takes")):
        assert line.startswith(f"pace  {what} ")
        assert line.endswith(" with bases in bf16") == cpu_has_bf16()
    assert printed[-1].startswith(f"{processor_name()}: some lines failed, ")
    assert record["passed"] is False


def test_a_base_and_a_shape_are_not_both_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gpu-check", "--device", "cpu", "--base", "mini-qwen3-xs", "--shape", "mini-qwen3-m"]) == 2

    assert "--base names a base with its weights, --shape one without" in capsys.readouterr().err


def test_more_gpus_than_there_are_cannot_be_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    assert main(["gpu-check", "--device", "cpu", "--gpus", "2", "--out", str(out)]) == 2

    assert not out.exists()
    assert "--gpus 2: this machine has 0 that can be checked on 'cpu'" in capsys.readouterr().err


def test_a_base_is_timed_with_its_own_weights(tmp_path: Path) -> None:
    record = check_device("cpu", tmp_path, lambda *_: None, checks={}, base="mini-qwen3-xs")

    assert record.shape == "mini-qwen3-xs"
    skipped = [line for line in record.findings["speed"] if line.level == "SKIP"]
    assert all("several workers" in line.what for line in skipped)
    assert "FAIL" not in {line.level for line in record.findings["speed"]}
    assert record.pace is not None


_WITHOUT_RAY = """
from functools import partial

from tests.support.hiding import hide

hide("ray")

from portal.cli import main
from portal.config import DeviceKind
from sweeps.gpu_check import check

checks = {name: check.CHECKS[name] for name in ("machine", "team")}
check.check_device = partial(check.check_device, checks=checks)
raise SystemExit(main(["gpu-check", "--device", "cpu", "--shape", "mini-qwen3-xs", "--out", OUT]))
"""


@pytest.mark.slow
def test_a_machine_without_ray_is_checked(tmp_path: Path) -> None:
    program = _WITHOUT_RAY.replace("OUT", repr(str(tmp_path)))

    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=root
    )

    assert done.returncode == 0, done.stderr
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIP")]
    assert any("Ray is not installed" in line for line in skipped)
    versions = json.loads((tmp_path / RECORD).read_text())["versions"]
    assert "torch" in versions
    assert "ray" not in versions


@pytest.mark.ray
@pytest.mark.slow
def test_this_cpu_passes_all_checks_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    assert main(["gpu-check", "--device", "cpu", "--out", str(tmp_path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("FAIL") for line in lines)
    assert sum(line.startswith(("PASS", "WARN")) for line in lines) > 45  # WARN: speeds of a busy machine
    record = json.loads((tmp_path / RECORD).read_text())
    for each in (each for found in record["findings"].values() for each in found):
        assert any(line.startswith(f"{each['level']}  {each['what']}") for line in lines)
    assert any("a worker per base, one of them killed" in line for line in lines)
