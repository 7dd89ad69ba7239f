"""Devices: how tensors get there, how torch says that the memory is full, and what gives some of it back."""

import gc
import os
from collections.abc import Sequence

import torch
from torch import Tensor

_PLAIN = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
"""Messages of plain RuntimeErrors for lack of memory: on a CPU, for a library's workspace, page-locked."""


def to_device(
    values: Tensor | Sequence[int] | Sequence[float] | Sequence[bool], device: torch.device
) -> Tensor:
    """`values` on `device`; from page-locked memory where that is a GPU, whose queue then stays full."""
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def usable_cores() -> int:
    """CPU cores that this process may use: those of its machine, container or affinity mask."""
    return len(os.sched_getaffinity(0))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _PLAIN)


def release_memory() -> None:
    """Free what no longer has an owner and hand cached blocks back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
