"""`Rates`: how fast the device multiplies, copies, starts operations and writes, as plans want to know it."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from portal.device import fp32_products, product_rate, release_memory, seconds_each
from sweeps.planning.devices import Device, FoundGpu, KnownCheck, as_checked, describe_gpu, plain_cpu

_GPU_WIDTH, _CPU_WIDTH = 8192, 1024
_COPIED_BYTES = 2**28
_WRITTEN_BYTES = 2**26
_LAUNCHES = 1000
_TRIES = 5
"""Times that products are measured: the best of them is least disturbed by what others do."""


@dataclass(frozen=True)
class Rates:
    """FLOP/s of large products by precision, bytes/s of a copy and of a flushed write, seconds per launch.

    None where the device does not have it.
    """

    fp32_flops: float
    tf32_flops: float | None
    bf16_flops: float | None
    copy_bytes_per_s: float
    upload_bytes_per_s: float | None
    launch_s: float
    write_bytes_per_s: float


def measure(device: torch.device, out: Path, *, has_bf16: bool) -> Rates:
    """The rates of the device, and of the disk below `out`; takes seconds."""
    is_gpu = device.type == "cuda"
    width = _GPU_WIDTH if is_gpu else _CPU_WIDTH
    rates = Rates(
        fp32_flops=_best_rate(width, torch.float32, device),
        tf32_flops=_tf32_rate(width, device) if is_gpu else None,
        bf16_flops=_best_rate(width, torch.bfloat16, device) if has_bf16 else None,
        copy_bytes_per_s=_copy_rate(device, device),
        upload_bytes_per_s=_copy_rate(torch.device("cpu"), device) if is_gpu else None,
        launch_s=_launch_seconds(device),
        write_bytes_per_s=write_rate(out),
    )
    release_memory()
    return rates


def rated_device(device: torch.device, rates: Rates | None) -> Device:
    """The GPU, or one core of this machine, for plans, with the rates that were measured."""
    if device.type == "cuda":
        gpu = describe_gpu(FoundGpu.of(device))
        return as_checked(gpu, known_rates(gpu.name, rates, is_gpu=True))
    return as_checked(plain_cpu(1), replace(known_rates("", rates, is_gpu=False), pace=1.0))


def known_rates(name: str, rates: Rates | None, *, is_gpu: bool) -> KnownCheck:
    """What plans want to know of these rates."""
    known = KnownCheck(name, torch.__version__, "", True)
    if rates is None:
        return known
    known = replace(known, write_bytes_per_s=rates.write_bytes_per_s)
    if not is_gpu:
        return replace(known, flops=rates.fp32_flops, bf16_flops=rates.bf16_flops)
    return replace(
        known,
        flops=rates.bf16_flops,
        fp32_flops=rates.fp32_flops,
        tf32_flops=rates.tf32_flops,
        launch_s=rates.launch_s,
        bytes_per_s=2 * rates.copy_bytes_per_s,
    )


def write_rate(out: Path) -> float:
    """Bytes per second of a file that is flushed to the disk."""
    path = out / f".gpu-check.{os.getpid()}"
    content = os.urandom(_WRITTEN_BYTES)
    started = time.perf_counter()
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return _WRITTEN_BYTES / (time.perf_counter() - started)
    finally:
        path.unlink(missing_ok=True)


def _best_rate(width: int, dtype: torch.dtype, device: torch.device) -> float:
    return max(product_rate(width, dtype, device) for _ in range(_TRIES))


def _tf32_rate(width: int, device: torch.device) -> float:
    with fp32_products("tf32"):
        return _best_rate(width, torch.float32, device)


def _copy_rate(source: torch.device, target: torch.device) -> float:
    """Bytes per second that arrive; from the CPU out of page-locked memory."""
    values = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device=source)
    if source != target:
        values = values.pin_memory()
    copy = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device=target)
    return _COPIED_BYTES / seconds_each(lambda: copy.copy_(values, non_blocking=True), 3, target)


def _launch_seconds(device: torch.device) -> float:
    """Of one eager operation with its gradient's node, as a step has them."""
    number = torch.ones(1, device=device, requires_grad=True)
    return seconds_each(lambda: number + number, _LAUNCHES, device)
