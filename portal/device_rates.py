"""`GpuRates`: how fast a GPU multiplies and launches: of its data sheet, or measured where it is unknown."""

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from portal.device import release_memory

ATTAINED = 0.5
"""Share of the peak rate that large matrix products reach."""
_ROUNDED_TO = 1.25
_LESSER_CARDS = frozenset({"MIG", "GRID", "PCIE", "NVL"})
"""Words of names: slices of GPUs, also of virtual ones, and cards with less power."""


@dataclass(frozen=True)
class GpuRates:
    """Peak FLOP/s in bf16, dense, without sparsity, and seconds to launch one eager operation."""

    flops: float
    launch_s: float

    def rounded(self) -> "GpuRates":
        """The nearest of rates that are a quarter apart, so that a measurement's noise changes little."""
        return GpuRates(_round(self.flops), _round(self.launch_s))


KNOWN_GPUS = {
    "B200": GpuRates(2.25e15, 8e-6),
    "H200": GpuRates(9.89e14, 8e-6),
    "H100": GpuRates(9.89e14, 8e-6),
    "A100": GpuRates(3.12e14, 8e-6),
}


def known_model(name: str) -> str | None:
    """The model of KNOWN_GPUS that a GPU is by its full name (`NVIDIA H100 80GB HBM3`); None for all others.

    A slice of a GPU, and a card with less power, have a model's name with other words beside it; one that
    shares its module with a CPU (GB200, GH200) has a word of its own.
    """
    words = {*re.split(r"[\s-]+", name.upper())}
    if _LESSER_CARDS & words:
        return None
    return next((model for model in KNOWN_GPUS if model in words), None)


def rates_of(name: str, measure: Callable[[], GpuRates]) -> GpuRates:
    """The rates of a GPU by its full name; `measure` is called where they are not known."""
    model = known_model(name)
    return measure() if model is None else KNOWN_GPUS[model]


@lru_cache(maxsize=16)
def own_gpu_rates(device: torch.device) -> GpuRates:
    """The rates of this process's GPU, measured once, and rounded, where they are not known."""
    return rates_of(torch.cuda.get_device_name(device), lambda: measure_rates(device).rounded())


def measure_rates(device: torch.device, *, width: int = 4096, launches: int = 1000) -> GpuRates:
    """The rates as far as this device shows them.

    Large matrix products attain the share `ATTAINED` of a peak rate, so the rate that they show is divided by
    it. Takes about 0.3 s on a GPU and up to 100 MB of its memory, which is handed back.
    """
    rate = product_rate(width, torch.bfloat16, device)
    launch_s = seconds_each(_addition(device), launches, device)
    release_memory()
    return GpuRates(rate / ATTAINED, launch_s)


def product_rate(width: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of products of square matrices, so many numbers wide."""
    matrix = random_matrix(width, width, dtype, device)
    return 2 * width**3 / seconds_each(lambda: matrix @ matrix, 3, device)


def random_matrix(rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Normal numbers, always the same: a GPU that its power limits multiplies equal ones faster."""
    draws = torch.Generator(device).manual_seed(0)
    return torch.randn(rows, columns, dtype=dtype, device=device, generator=draws)


def seconds_each(operation: Callable[[], Tensor], count: int, device: torch.device) -> float:
    """Mean seconds of an operation, once it is warm and until the device has done all of them."""
    operation()
    _wait_for(device)
    started = time.perf_counter()
    for _ in range(count):
        operation()
    _wait_for(device)
    return (time.perf_counter() - started) / count


def _addition(device: torch.device) -> Callable[[], Tensor]:
    number = torch.ones(1, device=device)
    return lambda: number + number


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _round(value: float) -> float:
    return float(_ROUNDED_TO ** round(math.log(value, _ROUNDED_TO)))
