"""`Pack`: learners that share bases, stepped together in the same forwards.

In a step every active learner takes one optimiser step. Row blocks of all learners run through a base in a
few length-bucketed forwards; parameters are disjoint, so every learner gets exactly its own gradient. A
learner whose loss or gradient is not finite leaves with its parameters as they were; the others go on.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import Activations
from portal.data.token_rows import RowTable
from portal.device import is_out_of_memory
from portal.evaluate.written import AnswerJournal
from portal.forward.microbatch import SlotRows
from portal.learners.base import Learner
from portal.training.evaluator import Evaluator
from portal.training.forwards import ForwardRunner
from portal.training.frozen_scores import FrozenScores
from portal.training.metric_buffer import MetricBuffer
from portal.training.pack_step import LearnerStep
from portal.training.result_rows import Evaluation
from portal.training.worker_group import WorkerGroup

SYNC_STEPS = 10
"""Steps between two waits for the device: a learner that diverges leaves within as many."""


class Pack:
    """Learners on the same bases. `rows` are by base name.

    With several `workers` the rows of each base are run by those that hold it; the others have it without
    weights.
    `max_tokens` are the padded tokens of one forward on each base; running out of memory lowers them.
    Evaluations that write answers keep them in the `journal`, and go on from it. Packs that share `frozen`
    score each frozen base once.
    ValueError when the rows use a token id that a base does not have, or are longer than it can read.
    """

    def __init__(
        self,
        bases: dict[str, Base],
        rows: dict[str, RowTable],
        learners: Sequence[Learner],
        *,
        max_tokens: Mapping[str, int] | None = None,
        activations: Activations = "keep",
        workers: WorkerGroup | None = None,
        journal: AnswerJournal | None = None,
        frozen: FrozenScores | None = None,
    ) -> None:
        self.learners = list(learners)
        self.failed: dict[str, str] = {}
        self.losses: dict[str, float] = {}
        self._bases, self._workers = bases, workers or WorkerGroup()
        for name, base in bases.items():
            rows[name].extent.check(name, base.text_config)
        self._forwards = ForwardRunner(bases, max_tokens=max_tokens or {}, activations=activations)
        self._evaluator = Evaluator(bases, rows, self._forwards.hooks, self._workers, journal, frozen)
        self._metrics = MetricBuffer()
        self._spent = 0.0  # seconds since the last look at the device
        self._tokens: dict[str, int] = {}  # since then, by run

    @property
    def max_tokens(self) -> dict[str, int]:
        """Padded tokens of one forward, by base, as memory allows them now."""
        return self._forwards.max_tokens

    @property
    def active(self) -> list[Learner]:
        """Learners that have steps to take or evaluations to make."""
        return [learner for learner in self.learners if learner.key not in self.failed and not learner.done]

    def due(self) -> list[tuple[Learner, int]]:
        """(learner, epoch) pairs to evaluate before the next step."""
        return [
            (learner, epoch)
            for learner in self.active
            for epoch in sorted({epoch for _, epoch in learner.owed()})
        ]

    def step(self) -> int:
        """Take one step of every active learner; how many took one.

        Raises what is_out_of_memory knows when a single row does not fit; no learner has half a step then.
        """
        started = time.perf_counter()
        learners = [learner for learner in self.active if learner.step < learner.num_steps]
        assert not any(learner.owed() for learner in learners), "evaluate what is due before the next step"
        work = {learner.key: _Work({}, []) for learner in learners}
        try:
            # One worker holds the gradients of one base at a time; several go through all bases at once.
            rounds = [list(self._bases)] if self._workers.size > 1 else [[base] for base in self._bases]
            for bases in rounds:
                self._run_bases(bases, learners, work)
            self._update_all(learners, work)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self._forwards.forget_limits()
                for learner in learners:
                    learner.drop_gradients()
            raise
        self._spent += time.perf_counter() - started
        if any(learner.step % SYNC_STEPS == 0 or learner.owed() for learner in learners):
            self.sync_metrics()
        return len(learners)

    def sync_metrics(self) -> None:
        """Wait for the device: mean losses since the last time, shares of the time, learners that failed."""
        started = time.perf_counter()
        losses: dict[str, dict[int, list[float]]] = {}  # by run and step
        by_key = {learner.key: learner for learner in self.learners}
        for reading in self._metrics.read():
            if not reading.is_finite and reading.run not in self.failed:
                by_key[reading.run].step = reading.step
                self._fail(by_key[reading.run], f"{reading.what} is {reading.value}")
            if reading.is_loss and reading.run not in self.failed:
                losses.setdefault(reading.run, {}).setdefault(reading.step, []).append(reading.value)
        everyone = self._workers.all_gather(sorted(self.failed))
        if any(failed != everyone[0] for failed in everyone):
            raise RuntimeError(
                f"the workers of this pack disagree about which runs have failed, {everyone}: they go on "
                "from the last checkpoint"
            )
        self._spent += time.perf_counter() - started
        total = sum(self._tokens.values())
        for key, tokens in self._tokens.items():
            by_key[key].wall_s += self._spent * tokens / total
        self._spent, self._tokens = 0.0, {}
        if losses:
            for key, steps in losses.items():
                if key in self.failed:  # of a step that failed some losses may be finite
                    steps.pop(by_key[key].step, None)
            means = {key: [sum(own) / len(own) for own in steps.values()] for key, steps in losses.items()}
            self.losses = {key: sum(own) / len(own) for key, own in means.items() if own}
            for key, own in means.items():
                for loss in own:
                    by_key[key].losses.add(loss)

    def leave(self, learner: Learner) -> None:
        """Go on without this learner."""
        self.sync_metrics()
        self.learners.remove(learner)

    def evaluate(self, learner: Learner, epoch: int) -> Evaluation:
        """Score the tasks that owe `epoch` now, on every base and split; the learner judges the scores.

        A score that is not finite fails the learner: the evaluation is then empty.
        """
        tasks = [task for task, owed in learner.owed() if owed == epoch]
        found = self._evaluator.evaluate(learner, epoch, tasks)
        if isinstance(found, str):
            self._fail(learner, found)
            return Evaluation.joined([])
        learner.end_evaluation(tasks, epoch, found.results)
        return found

    def _run_bases(self, bases: list[str], learners: list[Learner], work: dict[str, "_Work"]) -> None:
        """Forwards and backwards of all learners' rows on some bases, down to the learners' parameters.

        Workers wait for each other after the forwards of all these bases, not after each.
        """
        places, count = list(self._bases), len(self._bases)
        members: list[tuple[LearnerStep, list[SlotRows]]] = []
        sharing = {base: self._sharing(base, learners) for base in bases}
        with self._workers.all_or_none():
            for base, own in sharing.items():
                place, slots = places.index(base), [slot for _, rows in own for slot in rows]
                steps = [LearnerStep(learner, base, [slot.slot for slot in rows]) for learner, rows in own]
                if self._workers.holds(place, count):
                    self._forwards.run(base, self._workers.share(slots, place, count), steps)
                members += [(step, rows) for step, (_, rows) in zip(steps, own, strict=True)]
            received = [step.received(self._workers) for step, _ in members]
        for tensors in received:
            self._workers.all_reduce_sum(tensors)
        with self._workers.all_or_none():
            for step, rows in members:
                work[step.learner.key].add(step.base, rows, step.backward())

    def _sharing(self, base: str, learners: list[Learner]) -> list[tuple[Learner, list[SlotRows]]]:
        """The learners that run on `base`, with their rows; the owner of a slot is its learner's place."""
        there = [learner for learner in learners if base in learner.bases and learner.key not in self.failed]
        return [(learner, learner.slot_rows(base, owner)) for owner, learner in enumerate(there)]

    def _update_all(self, learners: list[Learner], work: dict[str, "_Work"]) -> None:
        try:
            for learner in learners:
                self._update(learner, work[learner.key])
        except (RuntimeError, MemoryError) as error:
            if self._workers.size > 1 and is_out_of_memory(error):
                raise RuntimeError(
                    "no memory for an update that others have made: the worker group ends"
                ) from error
            raise

    def _update(self, learner: Learner, work: "_Work") -> None:
        if learner.key in self.failed:
            return
        loss_K = torch.cat(work.losses)
        norms = learner.update(loss_K)
        names = [
            f"the loss of task {learner.tasks[slot.slot]!r} on base {base!r}"
            for base, slots in work.slots.items()
            for slot in slots
        ]
        self._metrics.add(learner.key, learner.step, names, loss_K, is_loss=True)
        self._metrics.add(learner.key, learner.step, learner.norm_names(len(norms)), norms, is_loss=False)
        learner.step += 1
        for base, slots in work.slots.items():
            num_tokens = sum(slot.num_tokens for slot in slots)
            learner.count(base, num_tokens)
            self._tokens[learner.key] = self._tokens.get(learner.key, 0) + num_tokens

    def _fail(self, learner: Learner, cause: str) -> None:
        where = f"run {learner.key} ({learner.run.describe()}), step {learner.step}"
        self.failed.setdefault(learner.key, f"{where}: {cause}")


@dataclass(frozen=True)
class _Work:
    """A learner's part of a step: its slots by base, and their losses, which stay on the device."""

    slots: dict[str, list[SlotRows]]
    losses: list[Tensor]

    def add(self, base: str, slots: list[SlotRows], loss_S: Tensor) -> None:
        self.slots[base] = slots
        self.losses.append(loss_S)
