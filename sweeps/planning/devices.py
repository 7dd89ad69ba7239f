"""`Device`: what a plan needs to know of a machine. Rates are data sheets', dense, no sparsity."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from portal.config import nearest

MEMORY_SHARE = 0.9
"""Of a device's memory that a plan gives away: the rest is for fragments, workspaces and the driver."""
ATTAINED = 0.5
"""Share of the peak rate that large matrix products reach."""
_CPU_CORE_FLOPS = 7e10  # fp32: half of it was attained by training a 270 M base on a virtual machine's core
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_GIB = 2**30


@dataclass(frozen=True)
class Device:
    """Memory in bytes, peak rate in FLOP/s (bf16; fp32 on a CPU), seconds to launch one eager operation."""

    name: str
    memory_bytes: float
    flops: float
    launch_s: float
    is_gpu: bool = True

    @property
    def budget_bytes(self) -> float:
        return MEMORY_SHARE * self.memory_bytes

    def part(self, share: float) -> "Device":
        """What one of several processes on a GPU has of it, which all get the same share; a CPU as it is."""
        if share == 1.0 or not self.is_gpu:
            return self
        return replace(
            self,
            name=f"{share:g} of a {self.name}",
            memory_bytes=share * self.memory_bytes,
            flops=share * self.flops,
        )

    def shared_by(self, count: int) -> "Device":
        """What one of `count` processes has of a CPU's memory; a GPU is never shared."""
        return self if self.is_gpu else replace(self, memory_bytes=self.memory_bytes / count)


GPUS = {
    "b200": Device("B200", 180 * _GIB, 2.25e15, 8e-6),
    "h200": Device("H200", 141 * _GIB, 9.89e14, 8e-6),
    "h100": Device("H100", 80 * _GIB, 9.89e14, 8e-6),
    "a100": Device("A100", 80 * _GIB, 3.12e14, 8e-6),
}


def find_device(name: str | None) -> Device:
    """The named device, or the one this process would train on; ValueError for one that is not known."""
    if name is None:
        return _own_gpu() if torch.cuda.is_available() else _own_cpu()
    if name.lower() == "cpu":
        return _own_cpu()
    if name.lower() not in GPUS:
        raise ValueError(f"unknown device {name!r}{nearest(name.lower(), [*GPUS, 'cpu'])}")
    return GPUS[name.lower()]


def smallest_gpu(names: Iterable[str]) -> Device | None:
    """The one with the least memory among GPUs by their model names; None where one is not known here."""
    known = [GPUS.get(name.lower()) for name in names]
    found = [gpu for gpu in known if gpu is not None]
    return min(found, key=lambda gpu: gpu.memory_bytes) if found and len(found) == len(known) else None


def _own_gpu() -> Device:
    found = local_hardware()
    if not found.flops:
        raise ValueError(
            f"no rates are known here for {found.name}; name a device with --device: {', '.join(GPUS)}, cpu"
        )
    return found


def local_hardware() -> Device:
    """What this machine trains on, with its real memory; rates of zero where they are not known here."""
    if not torch.cuda.is_available():
        return _own_cpu()
    properties = torch.cuda.get_device_properties(0)
    known = next((gpu for gpu in GPUS.values() if gpu.name in properties.name), None)
    flops, launch_s = (0.0, 0.0) if known is None else (known.flops, known.launch_s)
    return Device(properties.name, properties.total_memory, flops, launch_s)


def _own_cpu() -> Device:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _CGROUP_LIMIT.read_text().strip() if _CGROUP_LIMIT.is_file() else "max"
    if limit != "max":  # a container's
        memory = min(memory, int(limit))
    return Device(f"this CPU ({cores} cores)", memory, cores * _CPU_CORE_FLOPS, 5e-6, is_gpu=False)
