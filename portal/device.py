"""Devices: how tensors get there, what is set there, what a driver and a full memory say, a GPU's rates.

`GpuRates` are of a GPU's data sheet, or measured where it is unknown.
"""

import ctypes
import gc
import math
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

_PLAIN = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",  # of page-locked memory
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # a handle that is made where the device is full
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of the messages of plain RuntimeErrors that stand for lack of memory."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
_taken: list[int] = []
_THREADS = "OMP_NUM_THREADS"
_DRIVER_S = 20.0  # in which the driver's tool answers, or is taken to hang
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LIBRARIES_SHARE = 0.05
"""Part of a process's share of a GPU that stays outside torch's allocator, for NCCL, cuBLAS and cuDNN."""


def to_device(
    values: Tensor | Sequence[int] | Sequence[float] | Sequence[bool], device: torch.device
) -> Tensor:
    """`values` on `device`; from page-locked memory where that is a GPU, whose queue then stays full."""
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.contiguous().pin_memory().to(device, non_blocking=True)  # else it is copied once more


def copy_to_host(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Copies in this machine's memory as the tensors are now, and a call that waits until they are there.

    A GPU copies into page-locked memory, after the work that it has been given and before what comes next;
    where no more can be locked, the call waits for it.
    """
    copies, on_gpu = {}, False
    for name, tensor in tensors.items():
        if tensor.device.type == "cuda":
            place = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=_can_lock(tensor.nbytes))
            copies[name], on_gpu = place.copy_(tensor.detach(), non_blocking=True), True
        else:
            copies[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    if not on_gpu:
        return copies, lambda: None
    copied = torch.cuda.Event()
    copied.record()
    return copies, copied.synchronize


def _can_lock(num_bytes: int) -> bool:
    """Whether so much memory can be page-locked now."""
    try:
        torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def wait_for_device() -> None:
    """Wait until the current GPU has done what it was given; on a CPU there is nothing to wait for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def ask_driver(*arguments: str) -> str | None:
    """What the driver's tool prints; None where there is none, it fails, or it does not answer."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, *arguments], capture_output=True, text=True, timeout=_DRIVER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def driver_releases() -> list[str]:
    """The release of the driver for each GPU that its tool lists; empty where it does not say."""
    return (ask_driver("--query-gpu=driver_version", "--format=csv,noheader") or "").splitlines()


def unusable_gpus() -> tuple[str, str] | None:
    """That the driver lists GPUs of which torch can use none, and what would help; None where that is not so.

    GPUs that CUDA_VISIBLE_DEVICES hides from this process do not count.
    """
    if torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    releases = driver_releases()
    if not releases:
        return None
    build = "without CUDA" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
    gpus = "1 GPU" if len(releases) == 1 else f"{len(releases)} GPUs"
    return (
        f"the driver, {releases[0]}, lists {gpus}, and torch {torch.__version__} can use none",
        f"it is a build {build}: install one for a CUDA that this driver has",
    )


def device_name(device: torch.device) -> str:
    """The model of a GPU; `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def forget_peak_memory(device: str) -> None:
    """What `peak_memory_bytes` says of GPUs is from now on; of a CPU it is always of the whole process."""
    if device.startswith("cuda"):
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory that this process has held: on GPUs in torch's tensors, else in all."""
    if device.type == "cuda":
        return sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def usable_cores() -> int:
    """CPU cores that this process may use: those of its affinity mask, within its control group's quota."""
    quota = _cpu_quota(_CGROUPS, _OWN_CGROUP)
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota)))


def own_threads() -> int:
    """Threads of torch where a process has the machine to itself: OMP_NUM_THREADS, or all `usable_cores`.

    ValueError for a variable that is no number; of a list, which OpenMP takes by level, it is the first.
    """
    named = os.environ.get(_THREADS, "").split(",")[0].strip()
    if named and not (named.isdecimal() and int(named)):
        raise ValueError(f"{_THREADS}={named}: not a number of threads")
    return int(named) if named else usable_cores()


def _cpu_quota(mount: Path, own: Path) -> float:
    """Cores' worth of time that Linux gives this process's control group and those above it; infinite: all.

    Of version 2 `mount` has the groups themselves, of version 1 those of the controller `cpu`.
    """
    quota = math.inf
    lines = own.read_text().splitlines() if own.is_file() else []
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mount if not controllers else mount / controllers
        root = root if root.is_dir() else mount / "cpu"
        folder = root / group.lstrip("/")
        for each in (folder, *folder.parents):
            quota = min(quota, _quota_of(each))
            if each == root:
                break
    return quota


def _quota_of(folder: Path) -> float:
    """Cores' worth of time of one control group; infinite where it has no limit of its own."""
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(limit) / float(period) if limit.strip() != "max" and float(limit) > 0 else math.inf
    except (OSError, ValueError):  # no such limit here
        return math.inf


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Within the block torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _PLAIN)


def prepare_gpu() -> None:
    """Set what decides numbers and speed of this process's work on GPUs.

    Products of fp32 matrices are in fp32 but where a block asks for TF32, also in containers whose
    environment asks torch for TF32 everywhere. Sums of bf16 products stay in fp32 throughout: thin adapter
    products invite split sums, which torch would add up in bf16. Attention leaves cuDNN out, which takes tens
    of milliseconds of the host for each new shape of a batch, and steps have hundreds; at a few hundred
    tokens flash attention is as fast.
    """
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def prepare_cpu() -> None:
    """Let this process keep what it frees for its next step, where the C library is glibc.

    By default glibc returns freed memory to the kernel, and every step fetches it again page by page: 14,000
    page faults in a step of 70 tasks, 65,000 in one of 140. Blocks above 32 MiB, which glibc maps one by one,
    are still returned. A thread other than the main one has a heap of its own, which this does not reach;
    MALLOC_ARENA_MAX=1 in the environment gives it the main one's. Other C libraries are left as they are.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, 2**25)  # the most that it takes, and what glibc itself rises to
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def fp32_products(precision: Literal["tf32", "fp32"]) -> Iterator[None]:
    """Within the block a GPU multiplies fp32 matrices with TF32's 11 bits of precision, or with all 24."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def take_gpus(indices: Sequence[int]) -> None:
    """Note which of the GPUs that this process sees are its own; the first of them is the current one."""
    _taken[:] = indices


def own_gpus(count: int) -> list[int]:
    """Numbers of so many GPUs of this process: those that it has taken, else from the current one on.

    ValueError where there are not as many.
    """
    there = torch.cuda.device_count()
    found = _taken or range(torch.cuda.current_device() if there else 0, there)
    if len(found) < count:
        raise ValueError(f"a base is to be divided over {count} GPUs, and this process has {len(found)}")
    return list(found[:count])


def limit_gpu_memory(share: float, num_gpus: int = 1) -> None:
    """Hold this process's tensors to its share of each of its GPUs, so that neighbours keep theirs."""
    fraction = (1 - LIBRARIES_SHARE) * share
    if num_gpus == 1:
        torch.cuda.set_per_process_memory_fraction(fraction)
        return
    for index in own_gpus(num_gpus):
        torch.cuda.set_per_process_memory_fraction(fraction, index)


def release_memory() -> None:
    """Free what has no owner any more; hand cached blocks back to the device, and locked ones to the host."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        if hasattr(torch.accelerator, "empty_host_cache"):  # torch 2.9 has none
            torch.accelerator.empty_host_cache()


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
    rate, number = product_rate(width, torch.bfloat16, device), torch.ones(1, device=device)
    launch_s = seconds_each(lambda: number + number, launches, device)
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
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    operation()
    wait()
    started = time.perf_counter()
    for _ in range(count):
        operation()
    wait()
    return (time.perf_counter() - started) / count


def _round(value: float) -> float:
    return float(_ROUNDED_TO ** round(math.log(value, _ROUNDED_TO)))
