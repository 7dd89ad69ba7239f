"""`train_step`: one optimiser step of every learner of a pack, whose rows share forwards.

Parameters of learners are disjoint, so every learner gets exactly its own gradient. Nothing that outlasts the
step changes before all gradients are there: a step that ran out of memory can be taken again. Memory is
predicted (`max_tokens`). A forward that runs out of it all the same is taken again once what the device holds
in reserve is released, and halved where that is no remedy.

Shape letters: S slots of a learner with rows on one base, K such slots of all its bases, M gradient norms.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import Activations, AdapterConfig
from portal.device import is_out_of_memory, release_memory, to_device
from portal.forward.adapter_hooks import AdapterHooks, Segment, concatenate_slots, select_slots
from portal.forward.losses import slot_losses
from portal.forward.microbatch import (
    MAX_FORWARD_TOKENS,
    MicroBatch,
    SlotRows,
    divide,
    launch_cost,
    plan_microbatches,
    smaller_limit,
)
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.training.worker_group import WorkerGroup

_log = logging.getLogger(__name__)


def train_step(learners: Sequence[Learner], forwards: "Forwards", workers: WorkerGroup) -> list["StepRecord"]:
    """Take one step of every learner (docs/method.md, "Packs"); what each has measured.

    An error of memory (portal.device.is_out_of_memory) is raised where a single row does not fit.
    """
    taken: list[LearnerStep] = []
    for bases in forwards.base_groups(workers):
        with workers.all_or_none():  # rows, factors, losses, and the factors' gradients
            steps = [step for base in bases for step in forwards.forward_backward(base, learners, workers)]
            parts = [tensor for step in steps for tensor in step.parts_to_sum(workers)]
        workers.all_reduce_sum(parts)  # in place
        with workers.all_or_none():  # from the factors' gradients to those of the parameters
            taken += [step.backward() for step in steps]
    records = [StepRecord(learner, taken) for learner in learners]
    with workers.no_way_back():
        for record in records:  # clip, and step the optimisers where losses and gradients are finite
            record.norm_M = record.learner.update(record.loss_K)
            record.learner.count_step(record.tokens)
    return records


class StepRecord:
    """What a learner's step has measured: the losses of its slots and gradients' norms are on the device."""

    def __init__(self, learner: Learner, taken: Sequence["LearnerStep"]) -> None:
        steps = [step for step in taken if step.learner is learner]
        self.learner, self.step = learner, learner.step
        self.loss_K = torch.cat([step.loss_S for step in steps])
        self.norm_M = self.loss_K.new_zeros(0)  # until the update
        self.tokens = {step.base: sum(slot.num_tokens for slot in step.rows) for step in steps}
        self._places = [(step.base, slot) for step in steps for slot in step.slots]

    @property
    def values(self) -> Tensor:
        """The losses, and then the norms, (N,)."""
        return torch.cat([self.loss_K, self.norm_M]).detach()

    @property
    def names(self) -> list[str]:
        """What each of these numbers is."""
        tasks = self.learner.tasks
        losses = [f"the loss of task {tasks[slot]!r} on base {base!r}" for base, slot in self._places]
        return losses + self.learner.norm_names(len(self.norm_M))


class LearnerStep:
    """A learner in one step on one base: its rows, its factors, and what came back for them.

    `slots` are those that have rows in this step; `loss_S` are their losses once the step is through.
    """

    def __init__(self, learner: Learner, base: str, owner: int) -> None:
        self.learner, self.base = learner, base
        self.rows = learner.slot_rows(base, owner)
        self.slots = [slot.slot for slot in self.rows]
        self.loss_S = torch.zeros(0)
        self._graph = learner.training_factors(base)
        self._values: Factors = {group: (a.detach(), b.detach()) for group, (a, b) in self._graph.items()}
        self._num_slots = len(next(iter(self._values.values()))[0])
        self._gradients: Factors = {}
        self._parts: list[tuple[list[int], Tensor]] = []  # slots of a forward, and their shares of the loss

    @property
    def adapter(self) -> AdapterConfig:
        return self.learner.adapter

    def values(self, rows: Sequence[SlotRows]) -> Factors:
        """The factors of the slots with these rows, without their graph."""
        return select_slots(self._values, [slot.slot for slot in rows])

    def make_room(self, rows: Sequence[SlotRows] = ()) -> None:
        """For the sum of gradients that come in parts: unless these are all of the learner's rows."""
        is_everything = len(rows) == self._num_slots and all(slot.whole is None for slot in rows)
        if not is_everything and not self._gradients:
            self._gradients = {
                group: (torch.zeros_like(a), torch.zeros_like(b)) for group, (a, b) in self._values.items()
            }

    def accumulate(self, slots: list[int], index: Tensor, loss_S: Tensor, gradients: Factors) -> None:
        """Add what a forward gave for these slots, whose `index` is on the device; takes no memory."""
        self._parts.append((slots, loss_S))
        if not self._gradients:
            self._gradients = gradients  # all there will be: else there would be room
            return
        for group, pair in gradients.items():
            for total, gradient in zip(self._gradients[group], pair, strict=True):
                total.index_add_(0, index, gradient)

    def parts_to_sum(self, workers: WorkerGroup) -> list[Tensor]:
        """This worker's parts of the losses and of the factors' gradients, summed in place; [] if alone."""
        if workers.size == 1:
            return []
        self.make_room()
        loss_S = self._losses()
        self._parts = [(self.slots, loss_S)]
        return [loss_S, *(gradient for pair in self._gradients.values() for gradient in pair)]

    def backward(self) -> "LearnerStep":
        """Carry the factors' gradients on to the learner's parameters; the step, which lets go of factors."""
        self.loss_S = self._losses()
        weight_S = self.learner.loss_weights(self.base, self.slots, self.loss_S)
        if weight_S is not None:
            index = to_device(self.slots, weight_S.device)
            scale = weight_S.new_zeros(self._num_slots).index_copy(0, index, weight_S).view(-1, 1, 1, 1)
            for pair in self._gradients.values():
                for gradient in pair:
                    gradient.mul_(scale)
        self.learner.backward(self.base, self._graph, self._gradients)
        self._graph, self._values, self._gradients = {}, {}, {}
        return self

    def _losses(self) -> Tensor:
        if not self._parts:  # the other workers have all the rows
            return torch.zeros(len(self.slots), device=self.learner.device)
        if len(self._parts) == 1 and self._parts[0][0] == self.slots:
            return self._parts[0][1]
        place_of = {slot: place for place, slot in enumerate(self.slots)}
        places = [place_of[slot] for slots, _ in self._parts for slot in slots]
        shares = torch.cat([share for _, share in self._parts])
        return shares.new_zeros(len(self.slots)).index_add(0, to_device(places, shares.device), shares)


class Forwards:
    """Forwards through adapted bases. `max_tokens` are the padded tokens of one forward on each base."""

    def __init__(
        self, bases: Mapping[str, Base], *, max_tokens: Mapping[str, int], activations: Activations
    ) -> None:
        self.max_tokens = dict.fromkeys(bases, MAX_FORWARD_TOKENS) | dict(max_tokens)
        self._planned_tokens = dict(self.max_tokens)
        self._bases = bases
        self.hooks = {
            name: AdapterHooks(
                base.model, base.sites, recomputed=base.layers if activations == "recompute" else ()
            )
            for name, base in bases.items()
            if base.device.type != "meta"
        }

    def forget_limits(self) -> None:
        """Go back to the planned sizes: smaller forwards were no remedy."""
        self.max_tokens = dict(self._planned_tokens)

    def base_groups(self, workers: WorkerGroup) -> list[list[str]]:
        """Bases whose gradients are held together: one worker holds those of one, several go through all."""
        return [list(self._bases)] if workers.size > 1 else [[base] for base in self._bases]

    def forward_backward(
        self, base: str, learners: Sequence[Learner], workers: WorkerGroup
    ) -> list[LearnerStep]:
        """The step of each of these learners that is on the base, after this worker's share of its rows."""
        there = [learner for learner in learners if base in learner.bases]
        steps = [LearnerStep(learner, base, owner) for owner, learner in enumerate(there)]
        place, count = list(self._bases).index(base), len(self._bases)
        if workers.holds(place, count):
            rows = [slot for step in steps for slot in step.rows]
            self.run(base, workers.share(rows, place, count), steps)
        return steps

    def run(self, base: str, slots: Sequence[SlotRows], steps: Sequence[LearnerStep]) -> None:
        """All slots through the base, in smaller forwards from the first one on that does not fit.

        An error of memory is raised where a single row does not fit.
        """
        costs = [launch_cost(self._bases[base], len(step.adapter.modules)) for step in steps]
        together = self._bases[base].device.type != "cpu"
        waiting = plan_microbatches(slots, costs=costs, max_tokens=self.max_tokens[base], together=together)
        while waiting:
            forward = waiting[0]
            if self._fits(base, forward, steps, last=False):
                waiting.pop(0)
                continue
            _log.warning("base %s: out of memory, the same forward once more", base)
            release_memory()
            if self._fits(base, forward, steps, last=True):
                waiting.pop(0)
                continue
            self.max_tokens[base] = smaller_limit(forward)
            _log.warning("base %s: out of memory, %d tokens per forward now", base, self.max_tokens[base])
            waiting = [part for each in waiting for part in divide(each, self.max_tokens[base])]

    def _fits(self, base: str, forward: MicroBatch, steps: Sequence[LearnerStep], *, last: bool) -> bool:
        """Run a forward; False, with no loss or gradient added, when it runs out of memory.

        The last try raises what it met where a single row does not fit.
        """
        try:
            run_forward(self._bases[base], self.hooks[base], forward, steps)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or (last and forward.num_present == 1):
                raise
            return False
        return True


def run_forward(base: Base, hooks: AdapterHooks, forward: MicroBatch, steps: Sequence[LearnerStep]) -> None:
    """Forward and backward of these rows; every learner's step adds its own part."""
    laid_out = _lay_out(forward.slots, steps)
    spans = [span for each in laid_out for span in each.spans]
    for step, rows in spans:
        step.make_room(rows)
    leaves = [leaf for each in laid_out for pair in each.segment.factors.values() for leaf in pair]
    with hooks.active([each.segment for each in laid_out], num_rows=forward.num_present):
        loss_S = slot_losses(base, [slot for _, rows in spans for slot in rows], length=forward.length)
        gradients = iter(torch.autograd.grad(loss_S.sum(), leaves))
    slots = [[slot.slot for slot in rows] for _, rows in spans]
    parts = zip(
        slots,
        [to_device(own, loss_S.device) for own in slots],
        loss_S.detach().split([len(own) for own in slots]),
        strict=True,
    )
    for each in laid_out:
        joined = {group: (next(gradients), next(gradients)) for group in each.segment.factors}
        start = 0
        for step, rows in each.spans:
            end = start + len(rows)
            step.accumulate(
                *next(parts), {group: (a[start:end], b[start:end]) for group, (a, b) in joined.items()}
            )
            start = end


@dataclass(frozen=True)
class _LaidOut:
    """An adapter segment of a forward, and whose rows are in it: those of one step after another."""

    segment: Segment
    spans: list[tuple[LearnerStep, list[SlotRows]]]


def _lay_out(slots: Sequence[SlotRows], steps: Sequence[LearnerStep]) -> list[_LaidOut]:
    """Learners of one shape are together, and in them slots with equally many rows."""
    by_shape: dict[tuple[AdapterConfig, int], dict[int, list[SlotRows]]] = {}
    for slot in sorted(slots, key=lambda slot: (slot.owner, slot.slot)):
        shape = (steps[slot.owner].adapter, len(slot.rows))
        by_shape.setdefault(shape, {}).setdefault(slot.owner, []).append(slot)
    laid_out = []
    for (adapter, num_rows), by_owner in by_shape.items():
        spans = [(steps[owner], rows) for owner, rows in by_owner.items()]
        joined = concatenate_slots([step.values(rows) for step, rows in spans])
        leaves = {
            group: (a.detach().requires_grad_(), b.detach().requires_grad_())
            for group, (a, b) in joined.items()
        }
        num_slots = sum(len(rows) for _, rows in spans)
        laid_out.append(_LaidOut(Segment(num_slots, leaves, adapter.scaling, num_rows), spans))
    return laid_out
