"""Every device has rates, so that nothing is ever planned on one that does nothing.

What gpu-check has measured on this machine is read by its plans, and asked for by launches on GPUs.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from portal.bases.precision import cpu_bf16_gain
from portal.device import KNOWN_GPUS, GpuRates, measure_rates, rates_of, usable_cores
from sweeps.planning.devices import (
    ATTAINED,
    GPUS,
    Device,
    FoundGpu,
    KnownCheck,
    as_checked,
    check_advice,
    checks_of,
    describe_gpu,
    find_check,
    find_device,
    find_gpu,
    local_hardware,
    plain_cpu,
    processor_name,
    smallest_gpu,
)
from sweeps.planning.plan import plan_study
from sweeps.planning.plan_table import time_lines
from sweeps.study.expand import Study
from tests.support.environment import GPU_ALLOWED, gpu_allowed
from tests.support.precision import cpu_with

BIG = FoundGpu("NVIDIA B200", 178 * 2**30, KNOWN_GPUS["B200"])
SMALL = FoundGpu("NVIDIA A100-SXM4-40GB", 39 * 2**30, KNOWN_GPUS["A100"])
UNKNOWN = FoundGpu("NVIDIA L40S", 44 * 2**30, GpuRates(3e14, 5e-6))
H100 = KnownCheck(
    "NVIDIA H100 80GB HBM3", torch.__version__, "2026-11-28T07:00:00+00:00", True, 1.2, 6e14, 5e-6
)
SLICE = replace(H100, name="NVIDIA H100 80GB HBM3 MIG 1g.10gb")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("field", ["memory_bytes", "flops", "launch_s"])
def test_a_device_without_memory_or_rates_is_refused(field: str) -> None:
    for value in (0.0, -1.0, float("nan"), float("inf")):
        rates = {"memory_bytes": 1e9, "flops": 1e12, "launch_s": 1e-6, field: value}
        with pytest.raises(ValueError, match=f"device L40S: {field} is .*; it must be above 0"):
            Device("L40S", **rates)


def test_an_unknown_device_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown device 'b20'; did you mean 'b200'"):
        find_device("b20")


def test_a_gpu_of_the_table_keeps_its_data_sheets_rates_and_another_is_measured_and_planned_for(
    tiny_study: Study, tmp_path: Path
) -> None:
    def measure() -> GpuRates:
        raise AssertionError("the rates are known")

    name = "NVIDIA H100 80GB HBM3"
    known = describe_gpu(FoundGpu(name, 79 * 2**30, rates_of(name, measure)))
    assert (known.flops, known.launch_s) == (GPUS["h100"].flops, GPUS["h100"].launch_s)
    assert known.memory_bytes == 79 * 2**30

    measured = rates_of("NVIDIA L40S", partial(measure_rates, torch.device("cpu"), width=128, launches=50))
    device = describe_gpu(FoundGpu("NVIDIA L40S", 48 * 2**30, measured))
    plan = plan_study(tiny_study, tmp_path, device=device, lanes=2)
    assert plan.lane_seconds(2) > 0
    assert all(each.hours > 0 for each in plan.forecasts)


@pytest.mark.parametrize(
    ("found", "smallest"),
    [([BIG, SMALL], SMALL), ([UNKNOWN, BIG], UNKNOWN), ([UNKNOWN], UNKNOWN), ([BIG, None], None), ([], None)],
)
def test_the_smallest_gpu_of_a_clusters_nodes_decides(
    found: list[FoundGpu | None], smallest: FoundGpu | None
) -> None:
    assert smallest_gpu(found) == (None if smallest is None else describe_gpu(smallest))


@pytest.mark.skipif(gpu_allowed(), reason=f"{GPU_ALLOWED}=1 shows the GPU")
def test_a_machine_without_a_gpu_finds_none() -> None:
    assert find_gpu() is None
    assert local_hardware() == find_device("cpu")


def test_a_share_of_a_gpu_has_that_share_of_its_memory_and_rates() -> None:
    whole, half = GPUS["h100"], GPUS["h100"].for_worker(0.5)

    rates = [(each.memory_bytes, each.flops, each.bytes_per_s) for each in (whole, half)]
    assert rates[1] == tuple(value / 2 for value in rates[0])
    assert half.launch_s == whole.launch_s


def test_lanes_share_a_cpu_and_not_a_gpu() -> None:
    cpu, gpu = find_device("cpu"), find_device("b200")

    assert cpu.shared_by(4).budget_bytes == cpu.budget_bytes / 4
    assert cpu.shared_by(1) == cpu
    assert gpu.shared_by(4) == gpu


def test_bf16_has_a_rate_of_its_own_on_a_cpu_that_has_it_and_no_other() -> None:
    cpu, gpu = plain_cpu(2), GPUS["b200"]

    assert cpu.rate("bf16") == cpu_bf16_gain() * cpu.flops
    with cpu_with():
        assert cpu.rate("bf16") == cpu.rate("default") == cpu.flops
    assert gpu.rate("bf16") == gpu.rate("default") == gpu.flops


def test_factors_are_generated_in_fp32_or_tf32_which_are_slower_on_a_gpu() -> None:
    gpu, cpu = GPUS["h100"], find_device("cpu")

    assert gpu.hypernet_rate("fp32") == pytest.approx(67e12, rel=0.02)  # its data sheet, without tensor cores
    assert gpu.hypernet_rate("tf32") == pytest.approx(495e12, rel=0.02)
    assert cpu.hypernet_rate("fp32") == cpu.hypernet_rate("tf32") == cpu.flops
    checked = as_checked(gpu, replace(H100, fp32_flops=4e13, tf32_flops=3e14))
    for products, measured in (("fp32", 4e13), ("tf32", 3e14)):
        assert ATTAINED * checked.hypernet_rate(products) == pytest.approx(measured)
        assert checked.for_worker(0.5).hypernet_rate(products) == checked.hypernet_rate(products) / 2


def test_a_check_is_found_by_its_device_and_its_release_of_torch_in_any_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{release}+cu130")
    check = replace(H100, torch=torch.__version__)
    assert find_check(check.name) is None
    check.keep()

    for version, found in ((f"{release}+cu130", [check]), (f"{release}+cpu", [check]), ("9.9", [])):
        monkeypatch.setattr(torch, "__version__", version)
        assert find_check(check.name) == (check if version == check.torch else None)
        assert (checks_of("H100"), checks_of("B200")) == (found, [])
        assert find_device("h100").checked == ("2026-11-28" if found else None)
        assert (check_advice("H100") is None) == bool(found)


def test_a_record_of_an_earlier_version_says_nothing_of_what_it_lacks_or_nothing_at_all(
    tmp_path: Path,
) -> None:
    H100.keep()
    (path,) = (tmp_path / "cache" / "gpu-checks").iterdir()
    record = json.loads(path.read_text())
    del record["fp32_flops"], record["tf32_flops"]

    path.write_text(json.dumps(record))
    assert find_check(H100.name) == H100
    assert find_device("h100").hypernet_rate("tf32") == pytest.approx(6e14 / ATTAINED / 2)
    path.write_text('{"name": "NVIDIA H100 80GB HBM3"}')
    assert find_check(H100.name) is None
    assert checks_of("H100") == []


def test_a_plan_has_the_rates_and_the_pace_that_were_measured() -> None:
    gpu = GPUS["h100"]

    assert as_checked(gpu, None) == gpu
    checked = as_checked(gpu, H100)
    assert (checked.flops, checked.launch_s, checked.pace) == (6e14 / ATTAINED, 5e-6, 1.2)
    assert checked.bytes_per_s == gpu.bytes_per_s
    assert as_checked(gpu, replace(H100, bytes_per_s=3e12)).bytes_per_s == 3e12
    for device in (gpu, plain_cpu(2)):
        assert as_checked(device, H100).write_bytes_per_s == device.write_bytes_per_s
        assert as_checked(device, replace(H100, write_bytes_per_s=5e8)).write_bytes_per_s == 5e8


def test_a_plan_for_a_cpu_has_the_rates_of_its_cores_and_a_pace_for_each_precision() -> None:
    cpu = plain_cpu(2)
    own = replace(H100, flops=8e10, launch_s=None, bf16_flops=4e11, bf16_pace=1.5)
    check = replace(own, scoring_pace=1.3, bf16_scoring_pace=1.7)

    checked = as_checked(cpu, check)

    assert checked.rate("default") == pytest.approx(2 * 8e10 / ATTAINED)
    assert checked.rate("bf16") == pytest.approx(2 * 4e11 / ATTAINED)
    assert (checked.pace_in("default"), checked.pace_in("bf16"), checked.checked) == (1.2, 1.5, "2026-11-28")
    assert (checked.scoring_pace_in("default"), checked.scoring_pace_in("bf16")) == (1.3, 1.7)
    beside = as_checked(cpu, replace(check, beside=1.5, bf16_beside=2.0))
    assert [beside.scoring_pace_in(each) for each in ("default", "bf16")] == pytest.approx([1.95, 3.4])
    assert (checked.launch_s, checked.bytes_per_s) == (cpu.launch_s, cpu.bytes_per_s)
    fp32_only = as_checked(cpu, replace(check, bf16_flops=None, bf16_pace=None))
    assert (fp32_only.pace_in("bf16"), fp32_only.scoring_pace_in("bf16")) == (1.2, 1.3)
    assert as_checked(cpu, replace(check, flops=None)) == cpu  # of a version that measured no rates


def test_a_gpu_that_is_named_is_the_one_that_was_checked_last() -> None:
    assert find_device("h100") == GPUS["h100"]
    for each in (
        replace(H100, name="NVIDIA H100 SXM", date="2026-11-27T07:00:00+00:00", pace=1.1),
        replace(H100, name="NVIDIA H100 PCIe", date="2026-11-29T07:00:00+00:00", pace=1.3),
        replace(SLICE, date="2026-11-30T07:00:00+00:00", pace=1.4),
        replace(H100, name="NVIDIA H100 80GB HBM2e", date="2026-12-01T07:00:00+00:00", passed=False),
        H100,
    ):
        each.keep()

    assert find_device("h100") == find_device("H100") == as_checked(GPUS["h100"], H100)
    assert find_device("b200") == GPUS["b200"]


def test_a_gpu_of_a_node_has_the_check_of_its_own_name_or_else_of_its_model() -> None:
    found = FoundGpu(H100.name, 79 * 2**30, KNOWN_GPUS["H100"])
    other = replace(H100, name="NVIDIA H100 SXM", date="2027-01-01T07:00:00+00:00", pace=1.1)
    unchecked = describe_gpu(found)

    assert smallest_gpu([found]) == unchecked
    assert (unchecked.name, unchecked.checked, unchecked.memory_bytes) == (H100.name, None, 79 * 2**30)
    for check in (other, H100):
        check.keep()
        assert smallest_gpu([found]) == as_checked(unchecked, check)


def test_a_plan_for_this_machine_takes_its_pace_and_says_how_sure_it_is(
    tiny_study: Study, tmp_path: Path
) -> None:
    def hours_and_line() -> tuple[float, str]:
        plan = plan_study(tiny_study, tmp_path / "out", device=find_device("cpu"))
        (line, *_) = time_lines(plan, plan.schedule(1), devices=1, workers=1)
        assert " to " in line
        return sum(each.hours for each in plan.forecasts), line

    hours, line = hours_and_line()
    own_flops = ATTAINED * find_device("cpu").flops / usable_cores()
    replace(H100, name=processor_name(), pace=2.0, flops=own_flops, launch_s=None).keep()
    checked_hours, checked_line = hours_and_line()

    ends = 0.005  # what runs write, at the disk's pace
    assert checked_hours == pytest.approx(2 / plain_cpu(1).pace * hours, rel=ends)
    assert "portal gpu-check measures its pace" in line
    assert "; pace of the gpu-check of 2026-11-28)" in checked_line


def test_a_launch_on_gpus_asks_for_a_check_of_such_a_gpu_that_has_passed() -> None:
    assert check_advice("B200") == (
        f"no gpu-check of B200 with torch {torch.__version__} is known here; `portal gpu-check` on a node of "
        "it takes minutes"
    )
    replace(H100, name="AMD EPYC", flops=None, launch_s=None).keep()  # of a CPU
    assert "no gpu-check of such a GPU" in str(check_advice(None))
    replace(H100, passed=False).keep()
    failed = "the gpu-check of H100 of 2026-11-28T07:00:00+00:00 has failed"
    assert str(check_advice("H100")).startswith(failed)
    H100.keep()
    assert [check_advice(name) for name in ("H100", H100.name, None)] == [None] * 3
    assert check_advice("B200") is not None


@pytest.mark.parametrize("name", ["NVIDIA H100 PCIe", SLICE.name])
def test_a_check_of_a_slice_or_of_a_slower_card_is_none_of_the_card(name: str) -> None:
    replace(H100, name=name).keep()

    advices = [check_advice(each) for each in ("H100", H100.name, name, None)]
    assert [each is None for each in advices] == [False, False, True, True]
