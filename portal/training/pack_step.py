"""A forward that learners share: each one's losses, and the gradients of the factors it brought.

Nothing outside changes before the whole forward and its backward are through, so one that ran out of memory
can be tried again in parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import AdapterConfig
from portal.device import to_device
from portal.forward.adapter_hooks import AdapterHooks, Segment, concatenate_slots, select_slots
from portal.forward.losses import slot_losses
from portal.forward.microbatch import MicroBatch, SlotRows
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.training.worker_group import WorkerGroup


class LearnerStep:
    """A learner in one step on one base: its factors with their graph, and what came back for them.

    `slots` are those that have rows in this step.
    """

    def __init__(self, learner: Learner, base: str, slots: Sequence[int]) -> None:
        self.learner = learner
        self.slots = list(slots)
        self.base = base
        self._graph = learner.training_factors(base)
        self._values: Factors = {group: (a.detach(), b.detach()) for group, (a, b) in self._graph.items()}
        self._gradients: Factors = {}
        self._parts: list[tuple[list[int], Tensor]] = []  # slots of a forward, and their shares of the loss

    @property
    def adapter(self) -> AdapterConfig:
        assert self.learner.run.adapter is not None, "a learner that trains has adapters"
        return self.learner.run.adapter

    def values(self, slots: Sequence[int]) -> Factors:
        """The factors of these slots, without their graph."""
        return select_slots(self._values, slots)

    @property
    def num_slots(self) -> int:
        return len(next(iter(self._values.values()))[0])

    def make_room(self) -> None:
        """For the sum of gradients that come in parts."""
        if not self._gradients:
            self._gradients = {
                group: (torch.zeros_like(a), torch.zeros_like(b)) for group, (a, b) in self._values.items()
            }

    def receive(self, slots: list[int], index: Tensor, loss_S: Tensor, gradients: Factors) -> None:
        """Add what a forward gave for these slots, whose `index` is on the device; takes no memory."""
        self._parts.append((slots, loss_S))
        if not self._gradients:
            self._gradients = gradients  # all there will be: else there would be room
            return
        for group, pair in gradients.items():
            for total, gradient in zip(self._gradients[group], pair, strict=True):
                total.index_add_(0, index, gradient)

    def received(self, workers: WorkerGroup) -> list[Tensor]:
        """Tensors that are summed over the workers, in place: losses of all slots, gradients of factors."""
        if workers.size == 1:
            return []
        self.make_room()
        loss_S = self._losses()
        self._parts = [(self.slots, loss_S)]
        return [loss_S, *(gradient for pair in self._gradients.values() for gradient in pair)]

    def backward(self) -> Tensor:
        """Carry the factors' gradients on to the learner's parameters; the losses of `slots`, (S,)."""
        loss_S = self._losses()
        weight_S = self.learner.loss_weights(self.base, self.slots, loss_S)
        if weight_S is not None:
            index = to_device(self.slots, weight_S.device)
            scale = weight_S.new_zeros(self.num_slots).index_copy(0, index, weight_S).view(-1, 1, 1, 1)
            for pair in self._gradients.values():
                for gradient in pair:
                    gradient.mul_(scale)
        self.learner.backward(self.base, self._graph, self._gradients)
        return loss_S

    def _losses(self) -> Tensor:
        if not self._parts:  # the other workers have all the rows
            return torch.zeros(len(self.slots), device=self.learner.device)
        if len(self._parts) == 1 and self._parts[0][0] == self.slots:
            return self._parts[0][1]
        place_of = {slot: place for place, slot in enumerate(self.slots)}
        places = [place_of[slot] for slots, _ in self._parts for slot in slots]
        shares = torch.cat([share for _, share in self._parts])
        return shares.new_zeros(len(self.slots)).index_add(0, to_device(places, shares.device), shares)


def run_forward(base: Base, hooks: AdapterHooks, forward: MicroBatch, members: Sequence[LearnerStep]) -> None:
    """Forward and backward of these rows; every member receives its own part."""
    laid_out = _lay_out(forward.slots, members)
    segments = [segment for segment, _ in laid_out]
    spans = [span for _, own in laid_out for span in own]
    for span in spans:
        if not span.is_everything:
            span.member.make_room()
    leaves = [leaf for segment in segments for pair in segment.factors.values() for leaf in pair]
    with hooks.active(segments, num_rows=forward.num_present):
        loss_S = slot_losses(base, [slot for span in spans for slot in span.rows], length=forward.length)
        gradients = iter(torch.autograd.grad(loss_S.sum(), leaves))
    indices = iter([to_device(span.slots, loss_S.device) for span in spans])
    losses = iter(loss_S.detach().split([len(span.rows) for span in spans]))
    for segment, own_spans in laid_out:
        joined = {group: (next(gradients), next(gradients)) for group in segment.factors}
        start = 0
        for span in own_spans:
            end = start + len(span.rows)
            own = {group: (a[start:end], b[start:end]) for group, (a, b) in joined.items()}
            span.member.receive(span.slots, next(indices), next(losses), own)
            start = end


@dataclass(frozen=True)
class _Span:
    """Neighbouring slots of one learner in a forward."""

    member: LearnerStep
    rows: list[SlotRows]

    @property
    def slots(self) -> list[int]:
        return [slot.slot for slot in self.rows]

    @property
    def is_everything(self) -> bool:
        """Whether the learner has no other rows in this step."""
        return len(self.rows) == self.member.num_slots and all(slot.whole is None for slot in self.rows)


def _lay_out(slots: Sequence[SlotRows], members: Sequence[LearnerStep]) -> list[tuple[Segment, list[_Span]]]:
    """Adapter segments of a forward and whose slots they are, in order.

    Learners of one shape are together, and in them slots with equally many rows.
    """
    by_shape: dict[tuple[AdapterConfig, int], dict[int, list[SlotRows]]] = {}
    for slot in sorted(slots, key=lambda slot: (slot.owner, slot.slot)):
        member = members[slot.owner]
        shape = (member.adapter, len(slot.rows))
        by_shape.setdefault(shape, {}).setdefault(slot.owner, []).append(slot)
    laid_out = []
    for (adapter, num_rows), by_owner in by_shape.items():
        spans = [_Span(members[owner], slots) for owner, slots in by_owner.items()]
        joined = concatenate_slots([span.member.values(span.slots) for span in spans])
        leaves = {
            group: (a.detach().requires_grad_(), b.detach().requires_grad_())
            for group, (a, b) in joined.items()
        }
        num_slots = sum(len(span.rows) for span in spans)
        laid_out.append((Segment(num_slots, leaves, adapter.scaling, num_rows), spans))
    return laid_out
