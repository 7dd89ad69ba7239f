"""A divided base has the gradients of the whole one, and a fault in a part of it makes its line fail."""

import pytest
import torch

from sweeps.gpu_check import division
from sweeps.gpu_check.division import check_division
from sweeps.gpu_check.world import LABELS, SLIDING, TARGET, CheckWorld


def test_a_base_over_memory_and_disk_passes(checked: CheckWorld) -> None:
    found = list(check_division(checked))

    assert [each.level for each in found] == ["PASS"] * 2
    assert all("divided over memory and disk" in each.what for each in found)


@pytest.mark.parametrize(("base", "found"), [(TARGET, ["FAIL", "PASS"]), (SLIDING, ["PASS", "FAIL"])])
@torch.no_grad()
def test_a_fault_in_a_part_makes_its_line_fail(base: str, found: list[str], fresh: CheckWorld) -> None:
    first = fresh.base(base, "divided").model.get_submodule("model.layers.0")
    for parameter in first.parameters():
        parameter.copy_(parameter.roll(1, dims=0))

    with torch.enable_grad():
        lines = list(check_division(fresh))

    assert [each.level for each in lines] == found


@pytest.mark.parametrize(
    ("repeated", "divided", "level"), [(0.0, 5e-4, "PASS"), (0.0, 2e-3, "FAIL"), (2e-3, 3e-3, "PASS")]
)
def test_on_gpus_a_divided_base_may_be_off_as_far_as_two_equal_steps(
    checked: CheckWorld,
    monkeypatch: pytest.MonkeyPatch,
    repeated: float,
    divided: float,
    level: str,
) -> None:
    steps = iter([0.0, repeated, divided] * 2)  # the whole base, the same again, the divided one
    monkeypatch.setattr(CheckWorld, "is_gpu", True)
    monkeypatch.setattr(CheckWorld, "workers", 2)
    monkeypatch.setattr(
        division, "packed_gradients", lambda *_: dict.fromkeys(LABELS, torch.ones(3) * (1 + next(steps)))
    )

    assert [each.level for each in check_division(checked)] == [level] * 2


def test_one_gpu_is_not_divided(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CheckWorld, "is_gpu", True)
    monkeypatch.setattr(CheckWorld, "workers", 1)

    (line,) = check_division(checked)

    assert (line.level, line.note) == ("SKIP", "there is one GPU")
