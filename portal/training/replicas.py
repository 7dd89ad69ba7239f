"""Replicas of learners in a worker group: whether they are alike, and what is done where they are not."""

from collections.abc import Sequence

import torch
from torch import Tensor

from portal.learners.base import Learner
from portal.training.worker_group import WorkerGroup

_AT_ONCE = 2**22
"""Words that are summed together: they are widened to twice their size, and memory may be short."""


def align_replicas(learners: Sequence[Learner], group: WorkerGroup) -> list[Learner]:
    """Give every worker the leader's state of the learners that differ between workers; which those are.

    Workers that get the same sums take the same steps, to the last bit, unless a kernel sums in no fixed
    order. Replicas that drift would in the end disagree about what comes next, and wait for each other.
    """
    if group.size == 1:
        return []
    found = group.all_gather(
        {learner.key: _checksums([*learner.tensors().values(), learner.broken]) for learner in learners}
    )
    unlike = [
        learner for learner in learners if any(own[learner.key] != found[0][learner.key] for own in found)
    ]
    for learner in unlike:
        tensors, meta = learner.state()
        copies = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        copies, meta, broken = group.broadcast((copies, meta, learner.broken.item()))
        if not group.is_leader:
            learner.restore(copies, meta)
            learner.broken.fill_(broken)
    return unlike


def _checksums(tensors: Sequence[Tensor]) -> list[int]:
    """The sum of each tensor's bits, in words of four bytes where they are such; one wait for the device."""
    sums = [
        torch.stack([words.sum(dtype=torch.int64) for words in _words(tensor).split(_AT_ONCE)]).sum()
        for tensor in tensors
    ]
    values: list[int] = torch.stack(sums).tolist()
    return values


def _words(tensor: Tensor) -> Tensor:
    flat = tensor.detach().contiguous().view(-1)
    return flat.view(torch.int32 if tensor.element_size() == 4 else torch.uint8)
