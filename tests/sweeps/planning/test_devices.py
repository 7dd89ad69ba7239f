"""Every device has rates, so that nothing is ever planned on one that does nothing."""

from functools import partial

import pytest
import torch

from portal.bases.precision import cpu_bf16_gain
from portal.device_rates import KNOWN_GPUS, GpuRates, measure_rates, rates_of
from sweeps.planning.devices import (
    GPUS,
    Device,
    FoundGpu,
    describe_gpu,
    find_device,
    find_gpu,
    local_hardware,
    plain_cpu,
    smallest_gpu,
)
from sweeps.planning.plan import plan_study
from sweeps.study.expand import Study
from tests.support.environment import GPU_ALLOWED, gpu_allowed
from tests.support.precision import cpu_with

MEASURE = partial(measure_rates, torch.device("cpu"), width=128, launches=50)


@pytest.mark.parametrize("field", ["memory_bytes", "flops", "launch_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_device_without_memory_or_rates_is_refused(field: str, value: float) -> None:
    rates = {"memory_bytes": 1e9, "flops": 1e12, "launch_s": 1e-6, field: value}

    with pytest.raises(ValueError, match=f"device L40S: {field} is .*; it must be above 0"):
        Device("L40S", **rates)


def test_a_gpu_that_is_not_in_the_table_is_measured_and_planned_for(tiny_study: Study, tmp_path) -> None:
    device = describe_gpu(FoundGpu("NVIDIA L40S", 48 * 2**30, rates_of("NVIDIA L40S", MEASURE)))

    plan = plan_study(tiny_study, tmp_path, device=device, lanes=2)

    assert plan.lane_seconds(2) > 0
    assert all(each.hours > 0 for each in plan.forecasts)


def test_a_gpu_of_the_table_keeps_its_data_sheets_rates() -> None:
    def measure() -> GpuRates:
        raise AssertionError("the rates are known")

    name = "NVIDIA H100 80GB HBM3"
    found = describe_gpu(FoundGpu(name, 79 * 2**30, rates_of(name, measure)))

    assert (found.flops, found.launch_s) == (GPUS["h100"].flops, GPUS["h100"].launch_s)
    assert found.memory_bytes == 79 * 2**30


BIG = FoundGpu("NVIDIA B200", 178 * 2**30, KNOWN_GPUS["B200"])
SMALL = FoundGpu("NVIDIA A100-SXM4-40GB", 39 * 2**30, KNOWN_GPUS["A100"])
UNKNOWN = FoundGpu("NVIDIA L40S", 44 * 2**30, GpuRates(3e14, 5e-6))


@pytest.mark.parametrize(
    ("found", "smallest"),
    [([BIG, SMALL], SMALL), ([UNKNOWN, BIG], UNKNOWN), ([UNKNOWN], UNKNOWN), ([BIG, None], None), ([], None)],
)
def test_the_smallest_gpu_of_a_clusters_nodes_decides(
    found: list[FoundGpu | None], smallest: FoundGpu | None
) -> None:
    gpu = smallest_gpu(found)

    assert (gpu is None) == (smallest is None)
    if gpu is not None and smallest is not None:
        assert (gpu.name, gpu.memory_bytes) == (smallest.name, smallest.memory_bytes)
        assert GpuRates(gpu.flops, gpu.launch_s) == smallest.rates


@pytest.mark.skipif(gpu_allowed(), reason=f"{GPU_ALLOWED}=1 shows the GPU")
def test_a_machine_without_a_gpu_finds_none() -> None:
    assert find_gpu() is None
    assert local_hardware() == find_device("cpu")


def test_a_share_of_a_gpu_has_that_share_of_its_memory_and_rates() -> None:
    whole, half = GPUS["h100"], GPUS["h100"].for_worker(0.5)

    rates = [(each.memory_bytes, each.flops, each.bytes_per_s) for each in (whole, half)]
    assert rates[1] == tuple(value / 2 for value in rates[0])
    assert half.launch_s == whole.launch_s


def test_bf16_has_a_rate_of_its_own_on_a_cpu_that_has_it_and_no_other() -> None:
    cpu, gpu = plain_cpu(2), GPUS["b200"]

    assert cpu.rate("bf16") == cpu_bf16_gain() * cpu.flops
    with cpu_with():
        assert cpu.rate("bf16") == cpu.rate("default") == cpu.flops
    assert gpu.rate("bf16") == gpu.rate("default") == gpu.flops
