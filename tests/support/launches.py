"""Counts of the operations that reach a device, views and allocations left out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_NO_LAUNCH = {
    *("alias", "as_strided", "detach", "expand", "permute", "reshape", "select", "slice", "split"),
    *("split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view", "_unsafe_view"),
    *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
}


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = function._schema.name.partition("::")[2]  # type: ignore[attr-defined]
        if name not in _NO_LAUNCH:
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


def count_launches(work: Callable[[], object]) -> Counter[str]:
    """How often each operation ran in `work`, by name."""
    with _Counting() as counting:
        work()
    return counting.counts


def no_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    """An attention in no operation, forward and backward: fused kernels take one each, math on meta many.

    Like theirs, its results lie in memory as its inputs do.
    """
    return _Nothing.apply(query, key, value)  # type: ignore[no-any-return]


def no_norm(x: torch.Tensor, _: Any, weight: torch.Tensor | None, __: float) -> torch.Tensor:
    """A norm in no operation, forward and backward: a GPU takes one each, a CPU takes it apart."""
    return _Nothing.apply(x)  # type: ignore[no-any-return]


class _Nothing(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, *inputs: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(*inputs)
        return torch.empty_like(inputs[0])

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(each) for each in context.saved_tensors)
