"""Fewer or faster operations in a base: RMSNorms as torch has them, rotary embeddings in three steps.

On a GPU each operation is a launch, and each launch reads and writes all that it works on. transformers
writes a norm in eight operations and a rotation in five; backward they are more. What replaces them here
gives the same up to rounding: sums are in fp32 as before. A result between them is rounded less often than in
the original, but for norms whose weights lie around zero, where it is rounded once more. In bf16 on a CPU
attention is that of `portal.bases.attention`.
"""

import inspect
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from portal.messages import nearest

Operations = Literal["plain", "fused"]
"""A base's operations: as transformers writes them, or with norms and rotations in fewer, and attention of
its own in bf16 on a CPU."""
ALL_OPERATIONS: tuple[Operations, ...] = get_args(Operations)
_ROTARY, INTERFACES = "apply_rotary_pos_emb", "ALL_ATTENTION_FUNCTIONS"
"""Names by which transformers' attention layers look up their rotation and what computes their attention."""
_ALIKE = 1e-6  # of fp32 results of a sample
_UNLIKE = (TypeError, AttributeError, RuntimeError, ValueError, IndexError)
"""What a module or function ends in that is made for other arguments than those of a sample."""
_log = logging.getLogger(__name__)


def wanted_operations() -> Operations | None:
    """What PORTAL_OPERATIONS says; None where it is not set. ValueError when it is neither word."""
    text = os.environ.get("PORTAL_OPERATIONS")
    for each in ALL_OPERATIONS:
        if each == text:
            return each
    if text is None:
        return None
    raise ValueError(f"unknown PORTAL_OPERATIONS {text!r}{nearest(text, ALL_OPERATIONS)}")


def usual_operations(dtype: torch.dtype, *, on_gpu: bool) -> Operations:
    """What PORTAL_OPERATIONS says, else plain for a base in fp32 on a CPU, and fused for all others."""
    return wanted_operations() or ("fused" if on_gpu or dtype == torch.bfloat16 else "plain")


def fuse_operations(model: nn.Module) -> int:
    """Replace the model's norms and rotations, in place, each where it gives what the original gives.

    That is tried on samples for the original's class. Others stay as they are, and are named in the log.
    Returns how many modules have new operations.
    """
    left, replaced = set(), 0
    weight = next((each for each in model.parameters() if each.is_floating_point()), None)
    is_halved = weight is not None and weight.device.type == "cpu" and weight.dtype == torch.bfloat16
    for module in model.modules():
        kind: Any = type(module)
        if kind.__name__.endswith("RMSNorm"):
            forward = _norm_like(kind) if _has_one_weight(module) else None
        elif _looks_up(kind, _ROTARY) or (is_halved and _looks_up(kind, INTERFACES)):
            forward = _forward_like(kind, on_cpu_in_bf16=is_halved)
            if _looks_up(kind, _ROTARY) and not _rotates(kind):
                left.add(kind.__name__)
        else:
            continue
        if forward is None:
            left.add(kind.__name__)
        else:
            # Where accelerate places the module, its own forward wraps this one.
            setattr(
                module,
                "_old_forward" if hasattr(module, "_hf_hook") else "forward",
                MethodType(forward, module),
            )
            replaced += 1
    if left:
        names = ", ".join(sorted(left))
        _log.warning("%s: these modules keep their own operations: %s", type(model).__name__, names)
    return replaced


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """Rotary embeddings of queries and keys, (N, heads, T, width) each; cos and sin are (N or 1, T, width).

    Source: Su et al., RoFormer, eq. 34, for pairs that are half a width apart.
    """
    # Both in as many operations as one of them, and token by token in memory, as attention wants its results.
    heads, tokens = unsqueeze_dim, 3 - unsqueeze_dim
    both = torch.cat([each.transpose(heads, tokens) for each in (q, k)], dim=tokens).transpose(heads, tokens)
    turned = _Rotation.apply(both, cos.unsqueeze(heads), sin.unsqueeze(heads))
    q, k = turned.split((q.shape[heads], k.shape[heads]), dim=heads)
    return q, k


class _Rotation(torch.autograd.Function):
    """x cos + (-x2, x1) sin of the halves x1 and x2 in three operations, and its transpose in three."""

    @staticmethod
    def forward(context: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        context.save_for_backward(cos, sin)
        first, second = sin.chunk(2, dim=-1)
        return _turned(x, cos, -1, first, 1, second)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = context.saved_tensors
        first, second = sin.chunk(2, dim=-1)
        return _turned(gradient, cos, 1, second, -1, first), None, None


def _turned(x: Tensor, cos: Tensor, sign1: int, sin1: Tensor, sign2: int, sin2: Tensor) -> Tensor:
    """x cos + (sign1 x2 sin1, sign2 x1 sin2)."""
    out = torch.mul(x, cos)
    (x1, x2), (out1, out2) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    out1.addcmul_(x2, sin1, value=sign1)
    out2.addcmul_(x1, sin2, value=sign2)
    return out


def _scaled_norm(module: Any, x: Tensor) -> Tensor:
    """w x / rms(x)."""
    if x.dtype != module.weight.dtype:
        return type(module).forward(module, x)
    return _rms_norm(x, module.weight, _epsilon(module))


def _offset_norm(module: Any, x: Tensor) -> Tensor:
    """(1 + w) x / rms(x), whose weights lie around zero; 1 + w is never rounded to the weights' precision."""
    if x.dtype != module.weight.dtype:
        return type(module).forward(module, x)
    return _Offset.apply(_rms_norm(x, None, _epsilon(module)), module.weight)


class _Offset(torch.autograd.Function):
    """(1 + w) y of a frozen w, in one operation forward and one backward."""

    @staticmethod
    def forward(context: Any, y: Tensor, weight: Tensor) -> Tensor:
        assert not weight.requires_grad, "the base is frozen"
        context.save_for_backward(weight)
        return torch.addcmul(y, y, weight)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = context.saved_tensors
        return torch.addcmul(gradient, gradient, weight), None


def _rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    if x.device.type == "meta":
        return _OutlinedNorm.apply(x)
    return nn.functional.rms_norm(x, x.shape[-1:], weight, eps)


class _OutlinedNorm(torch.autograd.Function):
    """What a GPU's norm keeps for its backward: on the meta device torch takes it apart, as on a CPU."""

    @staticmethod
    def forward(context: FunctionCtx, x: Tensor) -> Tensor:
        context.save_for_backward(x, x.new_empty(x.shape[:-1], dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return torch.empty_like(gradient)


def _has_one_weight(module: nn.Module) -> bool:
    """Whether the norm has a weight for each number and nothing else, as samples of its class have."""
    return [(name, weight.ndim) for name, weight in module.named_parameters()] == [("weight", 1)]


def _epsilon(module: Any) -> float:
    return float(module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps)


@lru_cache(maxsize=64)
@torch.no_grad()
def _norm_like(kind: type[nn.Module]) -> Callable[[Any, Tensor], Tensor] | None:
    """The norm that gives on a sample what this class of norms gives, if one does."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, generator=draw)
    try:
        with torch.device("cpu"):
            sample: Any = kind(8).float().requires_grad_(False)
        sample.weight.copy_(torch.randn(8, generator=draw))
        expected, _ = sample(x), _epsilon(sample)
    except _UNLIKE:
        return None  # it is made or shaped in another way than the norms that are known here
    for norm in (_scaled_norm, _offset_norm):
        if torch.allclose(norm(sample, x), expected, rtol=_ALIKE, atol=_ALIKE):
            return norm
    return None


@lru_cache(maxsize=64)
def _forward_like(kind: type[nn.Module], *, on_cpu_in_bf16: bool) -> Callable[..., Any] | None:
    """The forward of this class of attention layers with our rotation, if that gives what its own gives, and
    with our attention in bf16 on a CPU."""
    forward = kind.forward
    if (inside := inspect.unwrap(forward)) is not forward and not _renames_arguments(forward):
        return None
    ours: dict[str, Any] = {}
    if _rotates(kind):
        ours[_ROTARY] = _rotation_like(inside.__globals__[_ROTARY])
    if on_cpu_in_bf16 and _looks_up(kind, INTERFACES):
        from portal.bases.attention import CpuInterfaces  # it loads transformers, which takes a second

        ours[INTERFACES] = CpuInterfaces(inside.__globals__[INTERFACES])
    if not ours:
        return None
    names = {**inside.__globals__, **ours}
    copy = FunctionType(inside.__code__, names, forward.__name__, inside.__defaults__, inside.__closure__)
    copy.__kwdefaults__ = inside.__kwdefaults__
    return copy


def _rotation_like(own: Callable[..., Any]) -> Callable[..., Any]:
    """Our rotation where it can take the place of a family's own, and that elsewhere."""

    def rotated(*given: Any, **named: Any) -> Any:
        if len(given) == 4 and not named:
            q, k, cos, sin = given
            if cos.shape[-1] == q.shape[-1] and cos.dtype == q.dtype == k.dtype:
                return rotate(q, k, cos, sin)
        return own(*given, **named)  # a part of the width alone, another precision, one tensor at a time

    return rotated


def _rotates(kind: type[nn.Module]) -> bool:
    """Whether the class's own forward reads a rotation that ours can take the place of."""
    return _looks_up(kind, _ROTARY) and _rotates_alike(inspect.unwrap(kind.forward).__globals__[_ROTARY])


@lru_cache(maxsize=64)
def _rotates_alike(own: Callable[..., Any]) -> bool:
    """Whether a family's function gives what ours gives, of its results' shapes and precision, too."""
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, heads, 5, 8, generator=draw) for heads in (2, 1))
    angles = torch.randn(1, 5, 4, generator=draw).repeat(1, 1, 2)
    try:
        expected, found = (each(q, k, angles.cos(), angles.sin()) for each in (own, rotate))
        pairs = list(zip(found, expected, strict=True))
        alike = all(torch.allclose(*pair, rtol=_ALIKE, atol=_ALIKE) for pair in pairs)
    except _UNLIKE:
        return False  # it takes or gives something else
    return alike and all(ours.dtype == theirs.dtype for ours, theirs in pairs)


def _looks_up(kind: type[nn.Module], name: str) -> bool:
    """Whether the class's own forward reads that global of its module."""
    forward = inspect.unwrap(kind.forward)
    is_own = isinstance(forward, FunctionType) and name in forward.__code__.co_names
    return is_own and name in forward.__globals__


def _renames_arguments(forward: Callable[..., Any]) -> bool:
    """Whether what wraps it only takes old names of arguments, which the model's own code does not use."""
    wrapper: Any = forward
    is_outer = wrapper.__wrapped__ is inspect.unwrap(forward)
    return is_outer and wrapper.__code__.co_qualname.startswith("deprecate_kwarg.")
