"""A GPU's rates are those of its data sheet, or what it shows, rounded so that noise changes no plan."""

from functools import partial

import pytest
import torch

from portal.device_rates import KNOWN_GPUS, GpuRates, measure_rates, rates_of

MEASURE = partial(measure_rates, torch.device("cpu"), width=128, launches=50)


def test_measured_rates_are_those_of_a_device_that_works() -> None:
    rates = MEASURE()

    assert 1e6 < rates.flops < 1e15
    assert 1e-8 < rates.launch_s < 1e-2


def test_only_a_gpu_that_no_table_knows_is_measured() -> None:
    asked = []

    def measure() -> GpuRates:
        asked.append(1)
        return GpuRates(1e14, 5e-6)

    assert rates_of("NVIDIA B200", measure) == KNOWN_GPUS["B200"]
    assert rates_of("NVIDIA A100-SXM4-80GB", measure) == KNOWN_GPUS["A100"]
    assert not asked
    others = ("NVIDIA L40S", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 PCIe", "NVIDIA H100 NVL",
              "NVIDIA A100-PCIE-40GB", "GRID A100-10C", "NVIDIA GB200", "NVIDIA GH200 480GB")  # fmt: skip
    assert {rates_of(name, measure) for name in others} == {GpuRates(1e14, 5e-6)}
    assert len(asked) == len(others)


@pytest.mark.parametrize("noise", [0.95, 1.0, 1.05])
def test_noise_of_a_measurement_is_rounded_away(noise: float) -> None:
    rates = GpuRates(1.25**140, 1.25**-52)

    assert GpuRates(noise * rates.flops, noise * rates.launch_s).rounded() == rates.rounded()
    assert rates.rounded().flops == pytest.approx(rates.flops)
    assert rates.rounded().launch_s == pytest.approx(rates.launch_s)
