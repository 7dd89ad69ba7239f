"""What is set for a GPU or a CPU, what a driver says, which errors mean a full memory, a GPU's rates."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from portal import device
from portal.bases.base import load_base
from portal.device import (
    KNOWN_GPUS,
    GpuRates,
    ask_driver,
    copy_to_host,
    is_out_of_memory,
    limit_gpu_memory,
    measure_rates,
    own_gpus,
    prepare_gpu,
    rates_of,
    take_gpus,
    unusable_gpus,
)
from tests.support.driver_tool import put_driver_tool


@pytest.fixture
def settings() -> Iterator[None]:
    """torch's settings are as before when the test is over."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cuda.cudnn_sdp_enabled()
    reduced, fp32 = matmul.allow_bf16_reduced_precision_reduction, matmul.fp32_precision
    yield
    matmul.fp32_precision = fp32
    matmul.allow_bf16_reduced_precision_reduction = reduced
    torch.backends.cuda.enable_cudnn_sdp(cudnn)


def load_for_gpu() -> None:
    with suppress(AssertionError, RuntimeError):  # there is none, which shows once the weights are read
        load_base("mini-qwen3-xs", device="cuda")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("prepare", [prepare_gpu, load_for_gpu], ids=["by itself", "with a base"])
def test_products_and_sums_of_products_stay_in_fp32_and_attention_is_not_cudnns(
    prepare: Callable[[], None],
) -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.backends.cuda.enable_cudnn_sdp(True)

    prepare()

    assert torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction is False
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


class Event:
    """A mark in a GPU's queue that says when it is set and waited for."""

    def __init__(self, order: list[str]) -> None:
        self._order = order

    def record(self) -> None:
        self._order.append("marked")

    def synchronize(self) -> None:
        self._order.append("waited")


class Copies(TorchDispatchMode):
    """Notes each copy of a tensor into another."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self._order = order

    def __torch_dispatch__(self, operation: Any, _: Any, values: Any = (), how: Any = None) -> Any:
        if operation is torch.ops.aten.copy_.default:
            self._order.append("copied")
        return operation(*values, **(how or {}))


def test_copies_of_a_gpus_tensors_are_there_once_what_follows_all_of_them_has_been_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They go into memory that is locked where it can be. There is no GPU: tensors have no values here."""
    order, wanted = list[str](), list[int]()
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(order))
    monkeypatch.setattr(device, "_can_lock", wanted.append)  # None: it cannot

    with FakeTensorMode():
        tensors = {name: torch.zeros(3, device="cuda") for name in ("a", "b")}
        with Copies(order):
            copies, wait = copy_to_host(tensors)

    assert order == ["copied", "copied", "marked"]
    assert {name: (copy.device.type, copy.shape) for name, copy in copies.items()} == {
        name: ("cpu", torch.Size([3])) for name in tensors
    }
    assert wanted == [12, 12]
    wait()
    assert order[-1] == "waited"


def test_copies_on_a_cpu_are_there_at_once_and_their_own() -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T

    copies, wait = copy_to_host({"a": tensor})
    wait()
    before = tensor.clone()
    tensor += 1

    assert torch.equal(copies["a"], before)
    assert copies["a"].is_contiguous()


def test_memory_is_locked_unless_there_is_none_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(message: str) -> None:
        def empty(*_: Any, **__: Any) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr(torch, "empty", empty)

    refuse("CUDA error: out of memory")
    assert not device._can_lock(8)
    refuse("CUDA error: unspecified launch failure")
    with pytest.raises(RuntimeError, match="launch failure"):
        device._can_lock(8)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    assert device._can_lock(8)


QUOTAS: tuple[tuple[dict[str, str], str, int], ...] = (
    ({"pod/cpu.max": "150000 100000\n", "pod/box/cpu.max": "max 100000\n"}, "0::/pod/box\n", 2),
    (
        {"cpu/box/cpu.cfs_quota_us": "150000\n", "cpu/box/cpu.cfs_period_us": "100000\n"},
        "4:memory:/box\n3:cpu,cpuacct:/box\n",
        2,
    ),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3:cpu:/\n0::/\n", 8),
)
"""Files of version 2, of version 1 and without a quota, the process's own groups, and its cores of eight."""


def test_a_containers_quota_of_time_limits_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for number, (files, groups, cores) in enumerate(QUOTAS):
        root, own = tmp_path / str(number), tmp_path / "own"
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        own.write_text(groups)
        monkeypatch.setattr(device, "_CGROUPS", root)
        monkeypatch.setattr(device, "_OWN_CGROUP", own)
        assert device.usable_cores() == cores


def test_the_threads_that_a_user_names_are_those_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for named, expected in (("1", 1), ("3", 3), (" 4,2", 4), ("", device.usable_cores())):
        monkeypatch.setenv("OMP_NUM_THREADS", named)
        assert device.own_threads() == expected
    for named in ("0", "all", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", named)
        with pytest.raises(ValueError, match=f"OMP_NUM_THREADS={named}: not a number of threads"):
            device.own_threads()


STEPS = """
import ctypes, sys, threading, torch
from portal.device import prepare_cpu

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "a b c d e f g h free keepcost".split()]

statistics = ctypes.CDLL(None).mallinfo2
statistics.restype = Heap

def work():
    for prepare in (lambda: None, prepare_cpu):
        prepare()
        for _ in range(3):
            blocks = [torch.zeros(2**22) for _ in range(4)]
            del blocks
        print(statistics().free)

thread = threading.Thread(target=work)
(thread.start if "thread" in sys.argv else work)()
"""
"""Bytes on free lists of malloc (man 3 mallinfo2) after steps that each free four blocks of 16 MiB.

Printed twice: as a process starts, and when it is prepared.
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc >= 2.33")
@pytest.mark.parametrize("place", ["main", "thread"])
def test_memory_that_steps_on_a_cpu_free_does_not_go_back_to_the_kernel(place: str) -> None:
    """Workers of Ray train in a thread that is not the main one, and have this environment."""
    environment = {**os.environ, **({"MALLOC_ARENA_MAX": "1"} if place == "thread" else {})}
    for _ in range(5):
        printed = subprocess.check_output([sys.executable, "-c", STEPS, place], env=environment, text=True)
        before, after = map(int, printed.split())
        assert after >= 4 * 2**24
        if before < 4 * 2**24:  # by chance a small block that lives above the freed ones keeps them, too
            return
    raise AssertionError("also a process that is not prepared keeps what it frees")


def test_a_process_may_fill_its_share_of_a_gpu_but_for_what_libraries_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limits.append)

    limit_gpu_memory(1.0)
    limit_gpu_memory(0.5)

    assert limits == pytest.approx([0.95, 0.475])


def test_the_gpus_of_a_process_are_those_it_has_taken_else_from_the_current_one_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 5)

    assert own_gpus(3) == [5, 6, 7]
    with pytest.raises(ValueError, match="divided over 4 GPUs, and this process has 3"):
        own_gpus(4)
    try:
        take_gpus([1, 4, 6])  # as a worker of a team, which sees the GPUs of the others
        assert own_gpus(2) == [1, 4]
        with pytest.raises(ValueError, match="divided over 4 GPUs, and this process has 3"):
            own_gpus(4)
    finally:
        take_gpus([])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="and this process has 0"):
        own_gpus(2)


def test_lack_of_memory_is_known_by_its_error() -> None:
    for told in (
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ):
        assert is_out_of_memory(RuntimeError(told)), told
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(MemoryError())
    others_wait = "NCCL error in: ProcessGroupNCCL.cpp:94. Last error: Cuda failure 2 'out of memory'"
    for told in (others_wait, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"):
        assert not is_out_of_memory(RuntimeError(told)), told
    assert not is_out_of_memory(ValueError("out of memory"))


def test_what_the_tool_prints_is_the_answer_and_one_that_fails_or_is_not_there_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_driver_tool(tmp_path, monkeypatch, 'echo "asked for $1"')
    assert ask_driver("--query-gpu=name") == "asked for --query-gpu=name"

    put_driver_tool(tmp_path, monkeypatch, "echo failed; exit 9")
    assert ask_driver("topo", "-m") is None
    (tmp_path / "nvidia-smi").write_text("no program of this machine")
    assert ask_driver("topo", "-m") is None
    put_driver_tool(tmp_path, monkeypatch, "exec sleep 600")
    monkeypatch.setattr(device, "_DRIVER_S", 0.1)
    assert ask_driver("topo", "-m") is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert ask_driver("topo", "-m") is None


def test_gpus_that_the_driver_lists_and_torch_cannot_use_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert unusable_gpus() is None
    put_driver_tool(tmp_path, monkeypatch, "echo 550.90; echo 550.90")
    for value in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        assert unusable_gpus() is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    listed = f"the driver, 550.90, lists 2 GPUs, and torch {torch.__version__} can use none; it is a build "
    assert "; ".join(unusable_gpus() or ()).startswith(listed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert unusable_gpus() is None


def test_measured_rates_are_those_of_a_device_that_works() -> None:
    rates = measure_rates(torch.device("cpu"), width=128, launches=50)

    assert 1e6 < rates.flops < 1e15
    assert 1e-8 < rates.launch_s < 1e-2


def test_only_a_gpu_that_no_table_knows_is_measured() -> None:
    asked = []

    def measure() -> GpuRates:
        asked.append(1)
        return GpuRates(1e14, 5e-6)

    assert rates_of("NVIDIA B200", measure) == KNOWN_GPUS["B200"]
    assert rates_of("NVIDIA A100-SXM4-80GB", measure) == KNOWN_GPUS["A100"]
    assert not asked
    others = ("NVIDIA L40S", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 PCIe", "NVIDIA H100 NVL",
              "NVIDIA A100-PCIE-40GB", "GRID A100-10C", "NVIDIA GB200", "NVIDIA GH200 480GB")  # fmt: skip
    assert {rates_of(name, measure) for name in others} == {GpuRates(1e14, 5e-6)}
    assert len(asked) == len(others)


def test_noise_of_a_measurement_is_rounded_away() -> None:
    rates = GpuRates(1.25**140, 1.25**-52)

    for noise in (0.95, 1.0, 1.05):
        assert GpuRates(noise * rates.flops, noise * rates.launch_s).rounded() == rates.rounded()
    assert rates.rounded().flops == pytest.approx(rates.flops)
    assert rates.rounded().launch_s == pytest.approx(rates.launch_s)
