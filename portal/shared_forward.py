"""A forward that learners share: each one's losses, and the gradients of the factors it brought.

Nothing outside changes before the whole forward and its backward are through, so one that ran out of memory
can be tried again in parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.adapt import AdapterHooks, Segment, concatenate_slots, select_slots
from portal.bases import Base
from portal.config import AdapterConfig
from portal.forward import SlotRows, slot_losses
from portal.hypernet import Factors
from portal.learner import Learner
from portal.upload import upload


class Member:
    """A learner in one step on one base: its factors with their graph, and what came back for them."""

    def __init__(self, learner: Learner, base: str) -> None:
        self.learner = learner
        self.graph = learner.factors(base)
        self.losses: list[tuple[list[int], Tensor]] = []  # (slots, loss of each)
        self._values: Factors = {group: (a.detach(), b.detach()) for group, (a, b) in self.graph.items()}
        self._gradients: Factors = {}

    @property
    def adapter(self) -> AdapterConfig:
        assert self.learner.run.adapter is not None, "a learner that trains has adapters"
        return self.learner.run.adapter

    def values(self, slots: Sequence[int]) -> Factors:
        """The factors of these slots, without their graph."""
        return select_slots(self._values, slots)

    def receive(self, slots: list[int], loss_S: Tensor, gradients: Factors) -> None:
        """What a forward gave for these slots, each of which comes once a step."""
        num_slots = len(next(iter(self._values.values()))[0])
        if slots == list(range(num_slots)):
            self._gradients = gradients
        else:
            buffers = self._gradients or self.zero_gradients()
            index = upload(slots, loss_S.device)
            for group, pair in gradients.items():
                for buffer, gradient in zip(buffers[group], pair, strict=True):
                    buffer.index_copy_(0, index, gradient)
            self._gradients = buffers
        self.losses.append((slots, loss_S))

    def backward(self, base: str) -> None:
        """Carry the factors' gradients on to the learner's parameters."""
        self.learner.backward(base, self.graph, self._gradients or self.zero_gradients())

    def zero_gradients(self) -> Factors:
        return {group: (torch.zeros_like(a), torch.zeros_like(b)) for group, (a, b) in self._values.items()}


def run_forward(
    base: Base, hooks: AdapterHooks, forward: Sequence[SlotRows], members: Sequence[Member]
) -> None:
    """Forward and backward of these slots; every member receives its own part."""
    laid_out = _lay_out(forward, members)
    segments = [segment for segment, _ in laid_out]
    spans = [span for _, own in laid_out for span in own]
    leaves = [leaf for segment in segments for pair in segment.factors.values() for leaf in pair]
    with hooks.active(segments):
        loss_S = slot_losses(base, [slot for span in spans for slot in span.rows])
        parts = loss_S.split([len(span.rows) for span in spans])
        objectives = [
            span.member.learner.objective(base.name, span.slots, own)
            for span, own in zip(spans, parts, strict=True)
        ]
        gradients = iter(torch.autograd.grad(torch.stack(objectives).sum(), leaves))
    losses = iter(parts)
    for segment, own_spans in laid_out:
        joined = {group: (next(gradients), next(gradients)) for group in segment.factors}
        start = 0
        for span in own_spans:
            end = start + len(span.rows)
            own = {group: (a[start:end], b[start:end]) for group, (a, b) in joined.items()}
            span.member.receive(span.slots, next(losses).detach(), own)
            start = end


@dataclass(frozen=True)
class _Span:
    """Neighbouring slots of one learner in a forward."""

    member: Member
    rows: list[SlotRows]

    @property
    def slots(self) -> list[int]:
        return [slot.slot for slot in self.rows]


def _lay_out(forward: Sequence[SlotRows], members: Sequence[Member]) -> list[tuple[Segment, list[_Span]]]:
    """Adapter segments of a forward and whose slots they are, in order: learners of one shape together."""
    by_shape: dict[AdapterConfig, list[_Span]] = {}
    for owner in sorted({slot.owner for slot in forward}):
        member = members[owner]
        rows = sorted((slot for slot in forward if slot.owner == owner), key=lambda slot: slot.slot)
        by_shape.setdefault(member.adapter, []).append(_Span(member, rows))
    laid_out = []
    for adapter, spans in by_shape.items():
        joined = concatenate_slots([span.member.values(span.slots) for span in spans])
        leaves = {
            group: (a.detach().requires_grad_(), b.detach().requires_grad_())
            for group, (a, b) in joined.items()
        }
        num_slots = sum(len(span.rows) for span in spans)
        laid_out.append((Segment(num_slots, leaves, adapter.scaling), spans))
    return laid_out
