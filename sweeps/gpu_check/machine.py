"""The machine: what its driver, torch and limits offer to a study."""

import os
import re
import resource
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from portal.bases.precision import cpu_bf16_gain, cpu_has_bf16
from portal.device import ask_driver, random_matrix, usable_cores
from portal.messages import one_line
from sweeps.gpu_check.finding import Finding, at_least, at_most, skipped
from sweeps.gpu_check.world import CheckWorld

FREE_SHARE = 0.95
"""Of a GPU's memory: less means that another process is on it."""
MIN_LOCKED_BYTES = 2**30
"""Page-locked memory for uploads and for NCCL."""
SLOWDOWNS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""As `nvidia-smi --help-query-gpu` names them; a limit of power that is reached is usual, and left out."""
_BUSY_WIDTH, _BUSY_PRODUCTS = 8192, 50
_WARM_S = 3.0
"""Seconds that a GPU multiplies before its driver is asked, while it goes on."""
_SHARED = Path("/dev/shm")
_GIB = 2**30


def check_machine(world: CheckWorld) -> Iterator[Finding]:
    """Kernels for this device, free memory, limits of the process."""
    if world.is_gpu:
        yield from _check_gpu(world)
    else:
        yield at_least("CPU cores", usable_cores(), 2, otherwise="WARN", note="studies want two or more")
        yield from _check_bf16()
    note = "Ray and NCCL share memory there"
    yield at_least("/dev/shm", _shared_bytes() / _GIB, 1.0, unit="GiB", otherwise="WARN", note=note)


def _shared_bytes() -> float:
    if not _SHARED.is_dir():
        return 0.0
    found = os.statvfs(_SHARED)
    return float(found.f_frsize * found.f_blocks)


def _check_bf16() -> Iterator[Finding]:
    if not cpu_has_bf16():
        yield skipped("rate of bf16 over that of fp32", "this CPU has no bf16 instructions")
        return
    note = "its instructions are slower than fp32: leave precision at default"
    yield at_least("rate of bf16 over that of fp32", cpu_bf16_gain(), 1.0, otherwise="WARN", note=note)


def _check_gpu(world: CheckWorld) -> Iterator[Finding]:
    found = torch.cuda.get_device_properties(world.device)
    wanted, built = f"sm_{found.major}{found.minor}", torch.cuda.get_arch_list()
    yield at_least(
        f"kernels of torch {torch.__version__} that run on {found.name} ({wanted})",
        sum(runs_on(arch, found.major, found.minor) for arch in built),
        1,
        otherwise="WARN",
        note=f"torch has {', '.join(built)}; it compiles for {wanted} at each start, or fails",
    )
    for which, gpu in world.gpus.items():
        free, total = torch.cuda.mem_get_info(gpu)
        note = "another process may be on this GPU"
        what = f"{which}share of the GPU's memory that is free"
        yield at_least(what, free / total, FREE_SHARE, otherwise="WARN", note=note)
    yield _check_flash_attention(world.device)
    yield from _check_clocks(world.gpus)
    yield check_locked_memory(resource.getrlimit(resource.RLIMIT_MEMLOCK)[0])


def runs_on(arch: str, major: int, minor: int) -> bool:
    """Whether code for `arch` (`sm_86`, `sm_90a`) runs on a device of this compute capability.

    Such code runs on later minors of its major; with a letter at its end, on nothing but its own.
    """
    found = re.fullmatch(r"sm_(\d+)(\d)([a-z]?)", arch)
    if found is None:
        return False
    own_major, own_minor, letter = int(found[1]), int(found[2]), found[3]
    return own_major == major and (own_minor == minor if letter else own_minor <= minor)


def _check_flash_attention(device: torch.device) -> Finding:
    """One call of it, as a training step makes it."""
    q_NHTD = torch.ones(1, 4, 64, 64, dtype=torch.bfloat16, device=device)
    note = ""
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            nn.functional.scaled_dot_product_attention(q_NHTD, q_NHTD, q_NHTD, is_causal=True)
    except RuntimeError as error:
        note = one_line(error)
    return at_least("calls of flash attention that worked", float(not note), 1, otherwise="WARN", note=note)


def _check_clocks(gpus: Mapping[str, torch.device]) -> Iterator[Finding]:
    """What holds the clocks down while all of these GPUs multiply, as their driver says then."""
    matrices = [random_matrix(_BUSY_WIDTH, _BUSY_WIDTH, torch.bfloat16, gpu) for gpu in gpus.values()]
    query = f"--query-gpu={','.join(f'clocks_event_reasons.{each}' for each in SLOWDOWNS)}"

    def ask(gpu: torch.device) -> str | None:
        which = f"--id=GPU-{torch.cuda.get_device_properties(gpu).uuid}"
        return ask_driver(which, query, "--format=csv,noheader")

    started = time.monotonic()
    with ThreadPoolExecutor(len(gpus)) as beside:
        said: list[Future[str | None]] = []
        while not said or not all(each.done() for each in said):
            for _ in range(_BUSY_PRODUCTS):
                for matrix in matrices:
                    torch.mm(matrix, matrix)
            for gpu in gpus.values():
                torch.cuda.synchronize(gpu)
            if not said and time.monotonic() - started > _WARM_S:
                said = [beside.submit(ask, gpu) for gpu in gpus.values()]
    for which, each in zip(gpus, said, strict=True):
        yield check_slowdowns(each.result(), which)


def check_slowdowns(said: str | None, which: str = "") -> Finding:
    """The line of what the driver's tool says of SLOWDOWNS: `Active` or `Not Active` of each."""
    what = f"{which}reasons for which the GPU's clocks are held down"
    states = [] if said is None else [each.strip() for each in said.split(",")]
    if len(states) != len(SLOWDOWNS) or not {*states} <= {"Active", "Not Active"}:
        return skipped(what, "the driver's tool does not say")
    active = [name for name, state in zip(SLOWDOWNS, states, strict=True) if state == "Active"]
    note = f"{', '.join(active)}: look at its cooling and its power; all times below are longer for it"
    return at_most(what, len(active), 0, otherwise="WARN", note=note)


def check_locked_memory(limit_bytes: int) -> Finding:
    """The memory that a process may lock, by the limit that Linux gives it."""
    what = "memory that this process may lock"
    if limit_bytes == resource.RLIM_INFINITY:
        return Finding("PASS", what, note="unlimited")
    note = "raise memlock: teams of several GPUs may need it"
    least = MIN_LOCKED_BYTES / _GIB
    return at_least(what, limit_bytes / _GIB, least, unit="GiB", otherwise="WARN", note=note)
