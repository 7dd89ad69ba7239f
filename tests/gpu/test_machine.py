"""No other process is on a GPU, and nothing holds its clocks down; `portal doctor` has the other lines."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from portal.device import ask_driver, random_matrix
from tests.support.devices import DeviceWorld, expect

FREE_SHARE = 0.95
"""Of a GPU's memory: less means that another process is on it."""
SLOWDOWNS = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""As `nvidia-smi --help-query-gpu` names them; a limit of power that is reached is usual, and left out."""
_BUSY_WIDTH, _BUSY_PRODUCTS = 8192, 50
_WARM_S = 3.0
"""Seconds that a GPU multiplies before its driver is asked, while it goes on."""


@pytest.mark.gpu
def test_the_gpus_are_free_and_their_clocks_are_not_held_down_while_all_of_them_multiply(
    world: DeviceWorld,
) -> None:
    for gpu in world.gpus:
        free, total = torch.cuda.mem_get_info(gpu)
        expect(f"{gpu}: share of its memory that is free", free / total, at_least=FREE_SHARE)

    for gpu, said in zip(world.gpus, asked_while_busy(world.gpus), strict=True):
        held = slowdowns(said)
        if held is not None:
            expect(f"{gpu}: reasons for which clocks are held down ({held})", len(held), at_most=0)


def test_a_driver_says_what_holds_clocks_down_or_nothing() -> None:
    for said in (None, "Not Active", "[N/A], [N/A], [N/A], [N/A]"):
        assert slowdowns(said) is None
    assert slowdowns("Not Active, Not Active, Not Active, Not Active") == []
    assert slowdowns("Not Active, Not Active, Active, Not Active") == ["hw_power_brake_slowdown"]


def slowdowns(said: str | None) -> list[str] | None:
    """What the driver's tool says of SLOWDOWNS, `Active` or `Not Active` of each; None where it does not."""
    states = [] if said is None else [each.strip() for each in said.split(",")]
    if len(states) != len(SLOWDOWNS) or not {*states} <= {"Active", "Not Active"}:
        return None
    return [name for name, state in zip(SLOWDOWNS, states, strict=True) if state == "Active"]


def asked_while_busy(gpus: list[torch.device]) -> list[str | None]:
    """What the driver says of each of these GPUs while all of them multiply."""
    matrices = [random_matrix(_BUSY_WIDTH, _BUSY_WIDTH, torch.bfloat16, gpu) for gpu in gpus]
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
            for gpu in gpus:
                torch.cuda.synchronize(gpu)
            if not said and time.monotonic() - started > _WARM_S:
                said = [beside.submit(ask, gpu) for gpu in gpus]
    return [each.result() for each in said]
