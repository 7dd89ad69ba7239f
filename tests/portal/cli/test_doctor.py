"""`portal doctor`: a line for what a machine has, and advice where something is missing."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from portal.cli import main
from portal.cli.doctor import GpuFacts, gpu_findings, gpu_links, locked_memory
from tests.support.driver_tool import put_driver_tool

NODE = GpuFacts(
    names=("NVIDIA H100 80GB HBM3",) * 2,
    memory_bytes=(80 * 2**30,) * 2,
    capabilities=((9, 0),) * 2,
    torch_archs=("sm_80", "sm_90"),
    cuda="13.0",
    driver="580.95.05",
    cudnn=91500,
    nccl=(2, 28, 9),
    apart=(),
    links=frozenset({"NV18"}),
)
TOPOLOGY = """\
\t\x1b[4mGPU0\tGPU1\tGPU2\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV4\tSYS\tPXB\t0-23\t0\t\tN/A
GPU1\tNV4\t X \tSYS\tNODE\t0-23\t0\t\tN/A
GPU2\tSYS\tSYS\t X \tPHB\t24-47\t1\t\tN/A
NIC0\tPXB\tNODE\tPHB\t X \t\t\t\t

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NV#  = Connection traversing a bonded set of # NVLinks
"""


def lines_of(facts: GpuFacts) -> list[str]:
    return [f"{each.level} {each.what}" for each in gpu_findings(facts)]


def test_a_node_of_gpus_is_described() -> None:
    assert lines_of(NODE) == [
        "ok GPU 0: NVIDIA H100 80GB HBM3, 80 GiB",
        "ok GPU 1: NVIDIA H100 80GB HBM3, 80 GiB",
        "ok driver 580.95.05, CUDA 13.0 of torch, cuDNN 91500",
        "ok torch has kernels for sm_90",
        "ok NCCL 2.28.9",
        "ok every GPU reaches the others' memory, by NVLink (NV18)",
    ]


def test_what_a_node_lacks_is_a_line_with_advice() -> None:
    lacking: tuple[tuple[dict[str, object], str], ...] = (
        ({"torch_archs": ("sm_100",)}, "warn torch has no kernels for sm_90"),
        ({"nccl": None}, "warn torch has no NCCL"),
        ({"apart": ((0, 1),)}, "warn GPUs 0 and 1 exchange data through the host"),
        ({"driver": None}, "ok no nvidia-smi that answers, CUDA 13.0 of torch, cuDNN 91500"),
        ({"links": frozenset({"PIX"})}, "ok every GPU reaches the others' memory, by PCIe (PIX)"),
        ({"links": frozenset()}, "ok every GPU reaches the others' memory"),
        (
            {"links": gpu_links(TOPOLOGY, 3)},
            "ok every GPU reaches the others' memory, some by NVLink (NV4), some by PCIe (SYS)",
        ),
    )
    for changes, line in lacking:
        facts = replace(NODE, **changes)
        assert line in lines_of(facts)
        assert all(each.advice for each in gpu_findings(facts) if each.level == "warn")
    assert gpu_links(TOPOLOGY, 2) == gpu_links("", 1) == frozenset()  # GPUs that torch does not see


def test_memory_that_a_process_may_lock() -> None:
    assert locked_memory(resource.RLIM_INFINITY).level == "ok"
    assert locked_memory(2**33).what == "a process may lock 8 GiB of memory"
    short = locked_memory(8 * 2**20)
    assert (short.level, short.what) == ("warn", "a process may lock 0.0078 GiB of memory")
    assert "ulimit -l" in short.advice


def test_gpus_that_torch_cannot_use_fail_and_are_not_checked_as_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_driver_tool(tmp_path, monkeypatch, "echo 550.90")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    assert main(["doctor"]) == 2
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail")]
    assert main(["gpu-check", "--out", str(tmp_path / "out")]) == 2
    refused = capsys.readouterr().err

    assert len(failed) == 1
    assert "the driver, 550.90, lists 1 GPU, and torch" in failed[0]
    assert "install one for a CUDA that this driver has; or check the CPU with --device cpu" in refused


def test_this_machine_can_run_a_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("ok    torch ") for line in lines)
    assert any("CPU cores" in line for line in lines)
    assert any("/dev/shm" in line for line in lines)
    assert not any(line.startswith("fail") for line in lines)
