"""What a machine lacks is a line with what would help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sweeps.gpu_check import machine
from sweeps.gpu_check.machine import SLOWDOWNS, check_locked_memory, check_machine, check_slowdowns, runs_on
from sweeps.gpu_check.world import CheckWorld
from tests.support.driver_tool import put_driver_tool
from tests.support.findings import levels
from tests.support.precision import cpu_with


def test_a_cpu_without_bf16_skips_its_rate(checked: CheckWorld) -> None:
    with cpu_with():
        found = levels(check_machine(checked))

    assert found["rate of bf16 over that of fp32"] == "SKIP"


def test_one_core_no_shared_memory_and_slow_bf16_are_warnings(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    monkeypatch.setattr(machine, "_shared_bytes", lambda: 2.0**26)
    monkeypatch.setattr(machine, "cpu_bf16_gain", lambda: 0.5)
    with cpu_with("avx512_bf16"):
        found = levels(check_machine(checked))

    assert found == {"CPU cores": "WARN", "rate of bf16 over that of fp32": "WARN", "/dev/shm": "WARN"}


@dataclass(frozen=True)
class Card:
    """What torch says of a GPU."""

    name: str = "A card"
    major: int = 9
    minor: int = 0
    uuid: str = "4a1f"


def take_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, *, built: list[str], free: float, attention_works: bool
) -> None:
    monkeypatch.setattr(machine, "_BUSY_WIDTH", 8)
    monkeypatch.setattr(machine, "_WARM_S", 0.0)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(CheckWorld, "is_gpu", property(lambda _: True))
    monkeypatch.setattr(CheckWorld, "workers", 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Card())
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 1.0))
    attend = nn.functional.scaled_dot_product_attention

    def refuse(*args: Tensor, **kwargs: Any) -> Tensor:
        if not attention_works:
            raise RuntimeError("No available kernel.\nAborting execution.")
        return attend(*args, **kwargs)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", refuse)


@pytest.mark.parametrize("sound", [True, False])
def test_a_gpu_without_kernels_memory_flash_attention_or_power_is_warned_of(
    checked: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sound: bool
) -> None:
    braked = "Not Active" if sound else "Active"
    asked = f"--query-gpu={','.join(f'clocks_event_reasons.{each}' for each in SLOWDOWNS)}"
    put_driver_tool(
        tmp_path,
        monkeypatch,
        f'[ "$*" = "--id=GPU-4a1f {asked} --format=csv,noheader" ] || exit 2\n'
        f'echo "Not Active, Not Active, {braked}, Not Active"',
    )
    take_for_a_gpu(
        monkeypatch,
        built=["sm_90"] if sound else ["sm_80", "sm_100"],
        free=0.99 if sound else 0.5,
        attention_works=sound,
    )

    lines = list(check_machine(checked))[:4]

    assert [each.level for each in lines] == ["PASS" if sound else "WARN"] * 4
    assert [each.note for each in lines if each.level == "WARN"] == (
        []
        if sound
        else [
            "torch has sm_80, sm_100; it compiles for sm_90 at each start, or fails",
            "another process may be on this GPU",
            "No available kernel. Aborting execution.",
            "hw_power_brake_slowdown: look at its cooling and its power; all times below are longer for it",
        ]
    )


def test_a_gpu_that_is_taken_or_held_down_is_found_among_others(
    checked: CheckWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = torch.device("cpu"), torch.device("cpu", 0)
    answer = 'case "$*" in *GPU-b2*) echo "Active, {0}";; *) echo "Not Active, {0}";; esac'
    put_driver_tool(tmp_path, monkeypatch, answer.format("Not Active, Not Active, Not Active"))
    take_for_a_gpu(monkeypatch, built=["sm_90"], free=0.99, attention_works=True)
    monkeypatch.setattr(CheckWorld, "gpus", property(lambda _: {"GPU 0: ": first, "GPU 1: ": second}))
    cards = {first: Card(uuid="a1"), second: Card(uuid="b2")}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda gpu: cards[gpu])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (0.5 if gpu == second else 0.99, 1.0))

    found = levels(check_machine(checked))

    free, held = "share of the GPU's memory that is free", "reasons for which the GPU's clocks are held down"
    assert [found[f"GPU {number}: {what}"] for what in (free, held) for number in (0, 1)] == [
        "PASS",
        "WARN",
        "PASS",
        "WARN",
    ]


@pytest.mark.parametrize("said", [None, "Not Active", "[N/A], [N/A], [N/A], [N/A]"])
def test_a_driver_that_does_not_say_what_holds_clocks_down_is_skipped(
    said: str | None,
) -> None:
    assert check_slowdowns(said).level == "SKIP"


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        ("sm_90", (9, 0), True),
        ("sm_86", (8, 9), True),
        ("sm_80", (8, 6), True),
        ("sm_89", (8, 6), False),
        ("sm_90a", (9, 0), True),
        ("sm_100", (10, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_90", (10, 0), False),
        ("compute_90", (9, 0), False),
    ],
)
def test_code_runs_on_later_minors_of_its_major(arch: str, capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(arch, *capability) is runs


def test_memory_that_may_be_locked_is_told_where_it_is_short() -> None:
    assert str(check_locked_memory(-1)) == "PASS  memory that this process may lock; unlimited"
    assert check_locked_memory(2**34).level == "PASS"
    assert check_locked_memory(2**16).level == "WARN"
