"""Precision of frozen bases: what a device can hold, and what `auto` stands for on it."""

import os
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from portal.config import Precision, PrecisionChoice

QUANTISED: tuple[Precision, ...] = ("8bit", "4bit")
"""Precisions in which bitsandbytes quantises a base when it is loaded."""
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply bf16 matrices, as torch and Linux name them. Without them torch emulates."""
BF16_WIDTH = 384
"""Hidden width from which `auto` takes bf16 on a CPU: docs/benchmarks.md, "Bases in bf16 on a CPU"."""
BF16_GAIN = 1.5
"""Gain of matrix products from which `auto` takes bf16 on a CPU: beside products, rounding costs time."""
BF16_SWITCH = "PORTAL_CPU_BF16"
"""The variable that, where it is 0, has this CPU taken for one without bf16."""
_CPUINFO = Path("/proc/cpuinfo")
_TRIES = 4
"""Times that a product is measured: the least of them is free of what others do."""


@cache
def cpu_has_bf16() -> bool:
    """Whether this machine's CPU multiplies bf16 matrices by instructions of its own, and may be asked to."""
    allowed = os.environ.get(BF16_SWITCH, "1")
    if allowed not in ("0", "1"):
        raise ValueError(f"{BF16_SWITCH}={allowed!r}: neither 0, which leaves bf16 out on this CPU, nor 1")
    return allowed == "1" and any(flag in _cpu_flags() for flag in BF16_FLAGS)


def _cpu_flags() -> set[str]:
    """What the CPU can do: as torch tells it, where its version does, else as Linux does."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    return _listed_flags(_CPUINFO.read_text()) if _CPUINFO.is_file() else set()


def _listed_flags(cpuinfo: str) -> set[str]:
    """The flags of the first processor in the text of /proc/cpuinfo."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((set(value.split()) for name, _, value in lines if name.strip() == "flags"), set())


@cache
def cpu_bf16_gain(width: int = 1024) -> float:
    """How many times as fast products are on this CPU in bf16; 1 where they would be emulated.

    Flags do not tell: with AVX512-BF16 AMD EPYCs gain two- to fourfold, and an Intel Xeon whose AMX its
    virtual machine hides takes twice the time of fp32. Takes about 0.2 s of a core.
    """
    if not cpu_has_bf16():
        return 1.0
    matrices = [torch.ones(width, width, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    spent = [[_cpu_seconds_of_product(matrix) for matrix in matrices] for _ in range(_TRIES)]
    whole_s, half_s = map(min, zip(*spent, strict=True))
    return whole_s / half_s


def _cpu_seconds_of_product(matrix: Tensor) -> float:
    """Seconds of this process alone, of all its threads: others on the machine add nothing."""
    started = time.process_time()
    matrix @ matrix
    return time.process_time() - started


def check_precision(precision: Precision, device: str) -> None:
    """ValueError unless a base can be loaded on `device` in this precision, from what is installed here."""
    on_gpu = device.startswith("cuda")
    if precision == "default" or (precision == "bf16" and on_gpu):
        return
    if precision == "bf16":
        if not cpu_has_bf16():
            raise ValueError(no_bf16("this machine's CPU"))
        return
    if not on_gpu:
        raise ValueError(
            f"precision {precision!r} needs a GPU, the device is {device!r}; leave it out on a CPU"
        )
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            f"precision {precision!r} needs bitsandbytes: pip install 'portal-sweeps[quantised]'"
        )


def no_bf16(where: str) -> str:
    """What to tell the user whose runs want bf16 `where` no instruction multiplies it."""
    return (
        f"precision 'bf16' needs AVX512-BF16 or AMX-BF16 on a CPU, and {where} has neither; run it on a CPU "
        "that has one or on a GPU, or with precision 'default', which is fp32 on a CPU"
    )


def weights_dtype(precision: Precision, *, on_gpu: bool) -> torch.dtype:
    """The type of a base's weights, those aside that bitsandbytes packs."""
    return torch.bfloat16 if on_gpu or precision == "bf16" else torch.float32


def resolve_precision(
    choice: PrecisionChoice, width: int, device: str, *, bf16_pays: bool | None = None
) -> Precision:
    """The precision that `choice` stands for, for a base of that hidden width on a device.

    `bf16_pays` says whether a CPU computes enough faster in bf16; None measures that of this machine.
    """
    if choice != "auto":
        return choice
    if device.startswith("cuda") or width < BF16_WIDTH:
        return "default"
    pays = cpu_has_bf16() and cpu_bf16_gain() >= BF16_GAIN if bf16_pays is None else bf16_pays
    return "bf16" if pays else "default"
