"""torch's fused kernels of attention give what its math kernel gives in fp32: outputs and gradients."""

from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from portal.bases.precision import weights_dtype
from sweeps.gpu_check.world import SOURCE, distance
from tests.support.devices import DEVICE, DeviceWorld, expect, hold

KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "memory-efficient": SDPBackend.EFFICIENT_ATTENTION}
"""Those of steps and scoring; cuDNN's are left out of both. A CPU has the first one only."""
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 0.02}
"""Of the norm: bf16 has 8 bits, and rounds what goes into the products and what comes out."""
_ROWS, _HEADS, _KEY_HEADS, _TOKENS = 3, 4, 2, 96
_WIDTHS = (64, 128, 256)
"""Of a head, as Llama's, Qwen3's and Gemma's are."""
_PADDING = (0, 17, 40)
"""Tokens at the end of each row that no other token may look at."""
_NONE_THERE = ("No available kernel", "No viable backend")
Masking = Literal["causal", "with a mask"]
"""Without a mask torch itself repeats the heads of keys; with one the base has done so."""


@pytest.mark.parametrize("how", ["causal", "with a mask"])
@pytest.mark.parametrize("name", KERNELS if DEVICE == "cuda" else ["flash"])
def test_a_fused_kernel_is_near_the_math_kernel(world: DeviceWorld, name: str, how: Masking) -> None:
    if world.is_gpu:
        world.base(SOURCE, "own")  # which sets what torch chooses from: not cuDNN's kernels
    dtype = weights_dtype(world.own_precision or "default", on_gpu=world.is_gpu)
    for width in _WIDTHS:
        what = f"attention by the {name} kernel, {how}, heads {width} wide"
        try:
            with sdpa_kernel(KERNELS[name]):
                found = attend(how, width, dtype, world.device)
        except RuntimeError as error:
            if world.is_gpu and any(text in str(error) for text in _NONE_THERE):
                pytest.skip(f"{what}: {error}")
            raise
        with sdpa_kernel(SDPBackend.MATH):
            exact = attend(how, width, torch.float32, world.device)
        hold(what, max(map(distance, found, exact)), BOUNDS[dtype])


@pytest.mark.parametrize("how", ["causal", "with a mask"])
def test_torch_takes_one_of_these_kernels_by_itself(world: DeviceWorld, how: Masking) -> None:
    dtype = weights_dtype(world.own_precision or "default", on_gpu=world.is_gpu)
    for width in _WIDTHS:
        inputs, options = inputs_of(how, width, dtype, world.device)
        taken = SDPBackend(torch._fused_sdp_choice(*inputs, **options))
        expect(f"{how}, heads {width} wide: {taken.name} taken", taken in KERNELS.values(), at_least=1)


def attend(how: Masking, width: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """The output and the gradients of queries, keys and values, of the same numbers each time."""
    inputs, options = inputs_of(how, width, dtype, device)
    out_NHTD = scaled_dot_product_attention(*inputs, **options)
    gradients = torch.autograd.grad(out_NHTD.float().square().sum(), inputs)
    return [each.detach().float().cpu() for each in (out_NHTD, *gradients)]


def inputs_of(
    how: Masking, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[list[Tensor], dict[str, Tensor | bool | None]]:
    """Queries, keys and values, rounded to bf16 in all precisions so that kernels have the same; masks."""
    draw, is_causal = torch.Generator().manual_seed(0), how == "causal"
    key_heads = _KEY_HEADS if is_causal else _HEADS
    made = [
        torch.randn(_ROWS, heads, _TOKENS, width, generator=draw).bfloat16().to(device, dtype)
        for heads in (_HEADS, key_heads, key_heads)
    ]
    mask = None if is_causal else padded_mask(device)
    options = {"attn_mask": mask, "is_causal": is_causal, "enable_gqa": is_causal}
    return [each.requires_grad_() for each in made], options


def padded_mask(device: torch.device) -> Tensor:
    """Where queries may look: at earlier tokens that are no padding; every token at itself. (N, 1, T, T)."""
    place_T = torch.arange(_TOKENS)
    end_N = _TOKENS - torch.tensor(_PADDING)
    is_real_NT = place_T < end_N[:, None]
    looks_NTT = (place_T[:, None] >= place_T) & is_real_NT[:, None, :]
    looks_NTT |= torch.eye(_TOKENS, dtype=torch.bool)
    return looks_NTT[:, None].to(device)
