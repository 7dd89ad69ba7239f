"""`LiveBytes`: the most bytes of tensors that lived at once, counted on the meta device."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts storages of meta tensors that operations make within the block, from their making to their end.

    What a kernel needs within itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = {id(tensor.untyped_storage()) for tensor in _meta_tensors((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in _meta_tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in before | self._seen:
                self._seen.add(id(storage))
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._forget, id(storage), storage.nbytes())
        return result

    def _forget(self, identity: int, size: int) -> None:
        self._seen.discard(identity)
        self.now -= size


def _meta_tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor) and leaf.is_meta]
