"""`Pack`: learners that share bases, stepped together in the same forwards.

In a step every active learner takes one optimiser step. Row blocks of all learners run through a base in a
few length-bucketed forwards; parameters are disjoint, so every learner gets exactly its own gradient. A
learner whose loss or gradient is not finite leaves with its parameters as they were; the others go on. A
forward that runs out of memory is halved and taken again.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import Activations
from portal.data.sampling import evaluation_rows
from portal.data.token_rows import RowTable
from portal.device import is_out_of_memory, release_memory
from portal.evaluate.loglikelihood import MAX_TOKENS, Scored, ScoringBatches, score_batches, scoring_batches
from portal.forward.adapter_hooks import AdapterHooks, Segment, select_slots
from portal.forward.microbatch import MicroBatch, SlotRows
from portal.forward.microbatch_plan import (
    MAX_FORWARD_TOKENS,
    divide,
    launch_cost,
    plan_microbatches,
    smaller_limit,
)
from portal.hypernet import Factors
from portal.learners.base import Learner
from portal.results import PREDICTIONS
from portal.training.metric_buffer import MetricBuffer
from portal.training.pack_step import LearnerStep, run_forward
from portal.training.result_rows import EVALUATED_SPLITS, Evaluation, prediction_rows, result_row
from portal.training.worker_group import WorkerGroup

SYNC_STEPS = 10
"""Steps between two waits for the device: a learner that diverges leaves within as many."""
_log = logging.getLogger(__name__)


class Pack:
    """Learners on the same bases. `rows` are by base name.

    In a `team` the rows of each base are run by the workers that hold it; the others have it without weights.
    `max_tokens` are the padded tokens of one forward on each base; running out of memory lowers them.
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
        team: WorkerGroup | None = None,
    ) -> None:
        self.learners = list(learners)
        self.failed: dict[str, str] = {}
        self.losses: dict[str, float] = {}
        self.max_tokens = dict.fromkeys(bases, MAX_FORWARD_TOKENS) | dict(max_tokens or {})
        self._planned_tokens = dict(self.max_tokens)
        self._bases, self._rows, self._team = bases, rows, team or WorkerGroup()
        for name, base in bases.items():
            rows[name].extent.check(name, base.text_config)
        self._layouts: dict[tuple[str, str, str, int], ScoringBatches] = {}
        self._hooks = {
            name: AdapterHooks(
                base.model, base.sites, recomputed=base.layers if activations == "recompute" else ()
            )
            for name, base in bases.items()
            if base.device.type != "meta"
        }
        self._trace = MetricBuffer()
        self._score_tokens = MAX_TOKENS
        self._spent = 0.0  # seconds since the last settling
        self._tokens: dict[str, int] = {}  # since the last settling, by run

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
        """One step of every active learner; how many took one.

        Raises what is_out_of_memory knows when a single row does not fit; no learner has half a step then.
        """
        started = time.perf_counter()
        learners = [learner for learner in self.active if learner.step < learner.num_steps]
        assert not any(learner.owed() for learner in learners), "evaluate what is due before the next step"
        work = {learner.key: _Work({}, []) for learner in learners}
        try:
            for base in self._bases:
                self._run_base(base, learners, work)
            self._update_all(learners, work)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                self.max_tokens = dict(self._planned_tokens)  # smaller forwards were no remedy
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
        losses: dict[str, list[float]] = {}
        by_key = {learner.key: learner for learner in self.learners}
        for reading in self._trace.read():
            if not reading.is_finite and reading.run not in self.failed:
                by_key[reading.run].step = reading.step
                self._fail(by_key[reading.run], f"{reading.what} is {reading.value}")
            if reading.is_loss:
                losses.setdefault(reading.run, []).append(reading.value)
        self._spent += time.perf_counter() - started
        total = sum(self._tokens.values())
        for key, tokens in self._tokens.items():
            by_key[key].wall_s += self._spent * tokens / total
        self._spent, self._tokens = 0.0, {}
        if losses:
            self.losses = {key: sum(values) / len(values) for key, values in losses.items()}

    def leave(self, learner: Learner) -> None:
        """Go on without this learner."""
        self.sync_metrics()
        self.learners.remove(learner)

    def evaluate(self, learner: Learner, epoch: int) -> Evaluation:
        """Scores of the tasks that owe `epoch` now, on every base and split; marks them as scored.

        A score that is not finite fails the learner: the evaluation is then empty.
        """
        tasks = [task for task, owed in learner.owed() if owed == epoch]
        with self._team.all_or_none():
            own = self._evaluate(learner, epoch, tasks)
        parts = sorted(
            (part for parts in self._team.all_gather(own) for part in parts), key=lambda part: part[0]
        )
        causes = [part for _, part in parts if isinstance(part, str)]
        if causes:
            self._fail(learner, causes[0])
            return Evaluation([], PREDICTIONS.empty_table())
        found = [part for _, part in parts if isinstance(part, Evaluation)]
        learner.scored.update((task, epoch) for task in tasks)
        return Evaluation(
            [row for part in found for row in part.results],
            pa.concat_tables([PREDICTIONS.empty_table(), *(part.predictions for part in found)]),
        )

    def _evaluate(
        self, learner: Learner, epoch: int, tasks: list[str]
    ) -> list[tuple[tuple[int, int], Evaluation | str]]:
        """This worker's part, by the places of base and task: scores, or why they are not finite."""
        parts: list[tuple[tuple[int, int], Evaluation | str]] = []
        for base in learner.bases:
            place, count = list(self._bases).index(base), len(self._bases)
            own = [index for index in range(len(tasks)) if self._team.scores(index, place, count)]
            if not own:
                continue
            with torch.no_grad():
                factors = learner.factors(base)
            for index in own:
                try:
                    scored = {
                        split: self._score(learner, base, factors, tasks[index], split)
                        for split in EVALUATED_SPLITS
                    }
                except FloatingPointError as error:
                    return [*parts, ((place, index), str(error))]
                rows = [result_row(learner, base, epoch, split, each) for split, each in scored.items()]
                predictions = [
                    row
                    for split, each in scored.items()
                    for row in prediction_rows(learner, epoch, split, each)
                ]
                table = pa.Table.from_pylist(predictions, schema=PREDICTIONS)
                parts.append(((place, index), Evaluation(rows, table)))
        return parts

    def _run_base(self, base: str, learners: list[Learner], work: dict[str, "_Work"]) -> None:
        present = [
            learner for learner in learners if base in learner.bases and learner.key not in self.failed
        ]
        together = []
        for learner in present:
            own_slots = learner.slot_rows(base, 0)
            loss_S = learner.run_own_forwards(own_slots)
            if loss_S is None:
                together.append(learner)
            else:
                work[learner.key].add(base, own_slots, loss_S)
        slots = [slot for owner, learner in enumerate(together) for slot in learner.slot_rows(base, owner)]
        members = [
            LearnerStep(learner, base, [slot.slot for slot in slots if slot.owner == owner])
            for owner, learner in enumerate(together)
        ]
        place, count = list(self._bases).index(base), len(self._bases)
        with self._team.all_or_none():
            if self._team.holds(place, count):
                self._run_forwards(base, self._team.share(slots, place, count), members)
            received = [member.received(self._team) for member in members]
        for tensors in received:
            self._team.all_reduce_sum(tensors)
        with self._team.all_or_none():
            for owner, member in enumerate(members):
                own = [slot for slot in slots if slot.owner == owner]
                work[member.learner.key].add(base, own, member.backward())

    def _run_forwards(self, base: str, slots: list[SlotRows], members: list[LearnerStep]) -> None:
        """All slots through the base, in smaller forwards from the first one on that does not fit."""
        costs = [launch_cost(self._bases[base], len(member.adapter.modules)) for member in members]
        together = self._bases[base].device.type != "cpu"
        waiting = plan_microbatches(slots, costs=costs, max_tokens=self.max_tokens[base], together=together)
        while waiting:
            forward = waiting[0]
            if self._fits(base, forward, members):
                waiting.pop(0)
                continue
            self.max_tokens[base] = smaller_limit(forward)
            _log.warning("base %s: out of memory, %d tokens a forward now", base, self.max_tokens[base])
            release_memory()
            waiting = [part for each in waiting for part in divide(each, self.max_tokens[base])]

    def _fits(self, base: str, forward: MicroBatch, members: list[LearnerStep]) -> bool:
        """Run a forward; False, with nothing changed, when memory is too small for more than one row."""
        try:
            run_forward(self._bases[base], self._hooks[base], forward, members)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or forward.num_present == 1:
                raise
            return False
        return True

    def _update_all(self, learners: list[Learner], work: dict[str, "_Work"]) -> None:
        try:
            for learner in learners:
                self._update(learner, work[learner.key])
        except (RuntimeError, MemoryError) as error:
            if self._team.size > 1 and is_out_of_memory(error):
                raise RuntimeError("no memory for an update that others have made: the team ends") from error
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
        self._trace.add(learner.key, learner.step, names, loss_K, is_loss=True)
        self._trace.add(learner.key, learner.step, learner.norm_names(len(norms)), norms, is_loss=False)
        learner.step += 1
        for base, slots in work.slots.items():
            num_tokens = sum(slot.num_tokens for slot in slots)
            learner.count(base, num_tokens)
            self._tokens[learner.key] = self._tokens.get(learner.key, 0) + num_tokens

    def _fail(self, learner: Learner, cause: str) -> None:
        where = f"run {learner.key} ({learner.run.describe()}), step {learner.step}"
        self.failed.setdefault(learner.key, f"{where}: {cause}")

    def _score(self, learner: Learner, base: str, factors: Factors, task: str, split: str) -> list[Scored]:
        segments = []
        if learner.run.adapter is not None:
            own = select_slots(factors, [learner.tasks.index(task)])
            segments = [Segment(1, own, learner.run.adapter.scaling)]
        size = learner.run.data.eval_size
        while True:
            layout = self._layout(base, task, split, size)
            try:
                with self._hooks[base].active(segments):
                    return score_batches(self._bases[base], layout)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or layout.is_finest:
                    raise
            self._score_tokens //= 2
            self._layouts.clear()
            release_memory()

    def _layout(self, base: str, task: str, split: str, size: int) -> ScoringBatches:
        key = (base, task, split, size)
        if key not in self._layouts:
            rows = evaluation_rows(self._rows[base].rows(task, split), size)
            self._layouts[key] = scoring_batches(rows, self._bases[base], max_tokens=self._score_tokens)
        return self._layouts[key]


@dataclass(frozen=True)
class _Work:
    """A learner's part of a step: its slots by base, and their losses, which stay on the device."""

    slots: dict[str, list[SlotRows]]
    losses: list[Tensor]

    def add(self, base: str, slots: list[SlotRows], loss_S: Tensor) -> None:
        self.slots[base] = slots
        self.losses.append(loss_S)
