"""Kernels of attention are held to the plain one, and one that is off is found."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from sweeps.gpu_check import attention
from sweeps.gpu_check.attention import MASKINGS, check_attention
from sweeps.gpu_check.world import CheckWorld
from tests.support.findings import levels
from tests.support.precision import cpu_with

FLASH = [
    f"attention by the flash kernel, {how}: output and gradients off the math kernel's in fp32"
    for how in MASKINGS
]


@pytest.mark.parametrize("instructions", [(), ("avx512_bf16",)])
def test_the_kernels_of_this_cpu_pass(checked: CheckWorld, instructions: tuple[str, ...]) -> None:
    with cpu_with(*instructions):
        found = list(check_attention(checked))

    assert {each.what: each.value for each in found if each.what in FLASH}.keys() == {*FLASH}
    assert all(each.value is not None and each.value > 0 for each in found if each.what in FLASH)
    assert {each.level for each in found} == {"PASS", "SKIP"}  # no CPU has the other kernel
    assert [each.note for each in found[-2:]] == ["torch takes FLASH_ATTENTION"] * 2


@pytest.mark.parametrize(("argument", "failed"), [("is_causal", FLASH[0]), ("attn_mask", FLASH[1])])
def test_a_kernel_that_looks_at_tokens_it_must_not_see_is_found(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch, argument: str, failed: str
) -> None:
    attend = attention.scaled_dot_product_attention

    def look(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        if torch.backends.cuda.flash_sdp_enabled() and not torch.backends.cuda.math_sdp_enabled():
            options.pop(argument, None)
        return attend(q, k, v, **options)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", look)

    found = levels(check_attention(checked))

    assert [what for what, level in found.items() if level == "FAIL"] == [failed]


def test_an_error_of_a_kernel_is_no_kernel_that_is_not_there(
    checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Tensor, **__: Any) -> Tensor:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(attention, "scaled_dot_product_attention", fail)

    with pytest.raises(RuntimeError, match="an illegal memory access"):
        list(check_attention(checked))


@pytest.mark.parametrize("taken", [SDPBackend.MATH, SDPBackend.CUDNN_ATTENTION])
def test_a_device_that_takes_another_kernel_than_those_of_studies_is_warned_of(
    taken: SDPBackend, checked: CheckWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "_fused_sdp_choice", lambda *_, **__: taken.value)

    assert [each.level for each in check_attention(checked)][-2:] == ["WARN", "WARN"]
