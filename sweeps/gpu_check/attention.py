"""Attention: torch's fused kernels for this device against its math kernel in fp32, outputs and gradients."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from portal.bases.precision import weights_dtype
from portal.messages import one_line
from sweeps.gpu_check.finding import Finding, at_most, skipped
from sweeps.gpu_check.world import SOURCE, CheckWorld, distance

KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "memory-efficient": SDPBackend.EFFICIENT_ATTENTION}
"""Those of steps and scoring; cuDNN's are left out of both."""
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 0.02}
"""Of the norm: bf16 has 8 bits, and rounds what goes into the products and what comes out."""
_ROWS, _HEADS, _KEY_HEADS, _TOKENS = 3, 4, 2, 96
_WIDTHS = (64, 128, 256)
"""Of a head, as Llama's, Qwen3's and Gemma's are."""
_PADDING = (0, 17, 40)
"""Tokens at the end of each row that no other token may look at."""
_NONE_THERE = ("No available kernel", "No viable backend")
Masking = Literal["causal", "with a mask"]
MASKINGS: tuple[Masking, ...] = ("causal", "with a mask")
"""Without a mask torch itself repeats the heads of keys; with one the base has done so."""


def check_attention(world: CheckWorld) -> Iterator[Finding]:
    """Heads of several widths, in the precision of studies; then which kernel torch takes by itself."""
    if world.is_gpu:
        world.base(SOURCE, "own")  # which sets what torch chooses from: not cuDNN's kernels
    dtype = weights_dtype(world.own_precision or "default", on_gpu=world.is_gpu)
    for name, kernel in KERNELS.items():
        for how in MASKINGS:
            yield _against_math(name, kernel, how, dtype, world.device)
    for how in MASKINGS:
        taken = {SDPBackend(_chosen_kernel(how, width, dtype, world.device)) for width in _WIDTHS}
        note = f"torch takes {' and '.join(sorted(kernel.name for kernel in taken))}"
        level: Literal["PASS", "WARN"] = "PASS" if taken <= {*KERNELS.values()} else "WARN"
        yield Finding(level, f"attention, {how}: fused kernels", note=note)


def _against_math(
    name: str, kernel: SDPBackend, how: Masking, dtype: torch.dtype, device: torch.device
) -> Finding:
    what = f"attention by the {name} kernel, {how}: output and gradients off the math kernel's in fp32"
    apart = 0.0
    for width in _WIDTHS:
        try:
            with sdpa_kernel(kernel):
                found = _attend(how, width, dtype, device)
        except RuntimeError as error:
            if not any(text in str(error) for text in _NONE_THERE):
                raise
            return skipped(what, f"heads {width} wide: {one_line(error, most=60)}")
        with sdpa_kernel(SDPBackend.MATH):
            exact = _attend(how, width, torch.float32, device)
        apart = max(apart, *map(distance, found, exact))
    return at_most(what, apart, BOUNDS[dtype], unit="of their norm")


def _attend(how: Masking, width: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """The output and the gradients of queries, keys and values, of the same numbers each time."""
    q, k, v = inputs = _inputs(how, width, dtype, device)
    mask, is_causal = _masking(how, device)
    out_NHTD = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=is_causal
    )
    gradients = torch.autograd.grad(out_NHTD.float().square().sum(), inputs)
    return [each.detach().float().cpu() for each in (out_NHTD, *gradients)]


def _chosen_kernel(how: Masking, width: int, dtype: torch.dtype, device: torch.device) -> int:
    q, k, v = _inputs(how, width, dtype, device)
    mask, is_causal = _masking(how, device)
    return torch._fused_sdp_choice(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=is_causal)


def _masking(how: Masking, device: torch.device) -> tuple[Tensor | None, bool]:
    """The mask, and whether attention is causal without one."""
    return (None, True) if how == "causal" else (_mask(device), False)


def _inputs(how: Masking, width: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Queries, keys and values, rounded to bf16 in all precisions, so that all kernels have the same."""
    draw = torch.Generator().manual_seed(0)
    key_heads = _KEY_HEADS if how == "causal" else _HEADS
    made = (
        torch.randn(_ROWS, heads, _TOKENS, width, generator=draw) for heads in (_HEADS, key_heads, key_heads)
    )
    return [each.bfloat16().to(device, dtype).requires_grad_() for each in made]


def _mask(device: torch.device) -> Tensor:
    """Where queries may look: at earlier tokens that are no padding; every token at itself. (N, 1, T, T)."""
    place_T = torch.arange(_TOKENS)
    end_N = _TOKENS - torch.tensor(_PADDING)
    is_real_NT = place_T < end_N[:, None]
    looks_NTT = (place_T[:, None] >= place_T) & is_real_NT[:, None, :]
    looks_NTT |= torch.eye(_TOKENS, dtype=torch.bool)
    return looks_NTT[:, None].to(device)
