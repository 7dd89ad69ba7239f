"""Rates are measured, and are of this machine."""

from pathlib import Path

import torch

from sweeps.gpu_check.rates import measure


def test_the_rates_of_this_cpu_are_positive_and_nothing_is_left_behind(tmp_path: Path) -> None:
    rates = measure(torch.device("cpu"), tmp_path, has_bf16=False)

    assert 1e8 < rates.fp32_flops < 1e13
    assert 1e7 < rates.copy_bytes_per_s < 1e12
    assert 0 < rates.launch_s < 1e-2
    assert rates.write_bytes_per_s > 0
    assert (rates.tf32_flops, rates.bf16_flops, rates.upload_bytes_per_s) == (None, None, None)
    assert list(tmp_path.iterdir()) == []
