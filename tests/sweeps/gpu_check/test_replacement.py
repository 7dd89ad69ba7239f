"""Bases that take each other's place leave nothing, and what one leaves is found."""

from collections.abc import Sequence

import pytest
import torch

from portal.bases.base import Base
from portal.training.pack import Pack
from sweeps.gpu_check import replacement
from sweeps.gpu_check.replacement import check_replacement, tensor_bytes
from sweeps.gpu_check.world import LABELS, CheckWorld


def test_bases_leave_nothing_behind(checked: CheckWorld) -> None:
    (line,) = check_replacement(checked)

    assert line.level == "PASS"
    assert line.value is not None


def test_a_base_that_something_holds_is_found(checked: CheckWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Base] = []
    checked.pack(LABELS, "fp32")  # what ports start from is there
    pack_on = CheckWorld.pack_on

    def hold(world: CheckWorld, base: Base, labels: Sequence[str]) -> Pack:
        held.append(base)
        return pack_on(world, base, labels)

    monkeypatch.setattr(CheckWorld, "pack_on", hold)

    (line,) = check_replacement(checked)

    left = sum(each.nbytes for base in held[2:] for each in base.model.parameters())
    assert line.level == "FAIL"
    assert line.value is not None
    assert line.value >= left > 1e6


def test_bytes_of_tensors_that_share_memory_count_once() -> None:
    device = torch.device("cpu")
    replacement.release_memory()
    before = tensor_bytes(device)
    values = torch.ones(1000)
    half = values[500:]

    assert half.numel() == 500
    assert tensor_bytes(device) - before == values.nbytes
