"""Attention of bf16 bases on a CPU: torch's, with a backward in fp32.

torch's own backward takes about three times as long in bf16 as in fp32 there. The saved tensors stay in bf16
and are cast to fp32 when the backward runs, so that its sums are rounded less often, too.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_ELSEWHERE = ("position_bias", "softcap", "s_aux")
"""Arguments of attention functions that change what is computed."""
_FORWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class CpuInterfaces:
    """Stands for a family's table of attention functions: `sdpa` is `attend`, all others are the family's."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getitem__(self, name: str) -> Any:
        return attend if name == "sdpa" else self.own[name]

    def get_interface(self, name: str, default: Any) -> Any:
        """What computes attention of that name."""
        return attend if name == "sdpa" else self.own.get_interface(name, default)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers asks for it, of queries (N, heads, T, width); it is (N, T, heads, width).

    Where no gradient is wanted, or torch would take another kernel, it is transformers' own.
    """
    tensors = (query, key, value)
    wants_gradient = torch.is_grad_enabled() and any(each.requires_grad for each in tensors)
    is_plain = not dropout and all(others.get(name) is None for name in _ELSEWHERE)
    if not (wants_gradient and is_plain and _fits(*tensors) and _is_constant(attention_mask)):
        named: dict[str, Any] = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **others}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    wants_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = attention_mask is None and wants_causal and query.shape[2] > 1
    out: Tensor = _Attention.apply(query, key, value, attention_mask, causal, scaling)
    return out.transpose(1, 2).contiguous(), None


def _fits(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these are whole rows of bf16 on a CPU as torch's kernel reads them; heads may share keys."""
    tensors = (query, key, value)
    is_bf16 = all(each.dtype == torch.bfloat16 and each.device.type == "cpu" for each in tensors)
    is_dense = all(each.stride(-1) == 1 for each in tensors)
    places = {(len(each), each.shape[2], each.shape[3]) for each in tensors}
    return is_bf16 and is_dense and len(places) == 1 and query.shape[1] % key.shape[1] == 0


def _is_constant(mask: Tensor | None) -> bool:
    """Whether the mask, if there is one, takes no gradient and is the same number in both passes."""
    if mask is None:
        return True
    return not mask.requires_grad and mask.dtype in (torch.bool, torch.bfloat16) and mask.ndim == 4


class _Attention(torch.autograd.Function):
    """softmax(Q K^T scale + mask) V. Source: Vaswani et al., Attention Is All You Need, eq. 1."""

    @staticmethod
    def forward(
        context: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float | None
    ) -> Tensor:
        out, log_sums = _FORWARD(q, k, v, 0.0, causal, attn_mask=_added(mask, q.dtype), scale=scale)
        context.save_for_backward(q, k, v, mask, out, log_sums)
        context.causal, context.scale = causal, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, out, log_sums = context.saved_tensors
        whole = [each.float() for each in (gradient, q, k, v, out)]
        added = _added(mask, torch.float32)
        found = _BACKWARD(*whole, log_sums, 0.0, context.causal, attn_mask=added, scale=context.scale)
        return *(each.to(q.dtype) for each in found), None, None, None


def _added(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to products of queries and keys; a mask of booleans says where they count."""
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(mask.logical_not(), float("-inf"))
