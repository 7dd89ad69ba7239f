"""Tensors on their way to a device: the host does not wait for the copy."""

from collections.abc import Sequence

import torch
from torch import Tensor


def upload(values: Tensor | Sequence[int] | Sequence[float] | Sequence[bool], device: torch.device) -> Tensor:
    """`values` on `device`; from page-locked memory where that is a GPU, whose queue then stays full."""
    tensor = values if isinstance(values, Tensor) else torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
