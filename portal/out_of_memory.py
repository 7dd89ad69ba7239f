"""Out of memory: how torch says so, on a GPU and on a CPU, and what can be given back before a new try."""

import gc

import torch

_PLAIN = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
"""What torch says in a plain RuntimeError: on a CPU, of a library's workspace, of page-locked memory."""


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
