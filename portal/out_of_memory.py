"""Out of memory: how torch says so, on a GPU and on a CPU, and what can be given back before a new try."""

import gc

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` is the allocator's; on a CPU torch raises a plain RuntimeError."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def release_memory() -> None:
    """Free what no longer has an owner and hand cached blocks back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
