"""`Pack`: learners that share bases, stepped together in the same forwards; and replicas of them in a group.

In a step (train_step.py) every active learner takes one optimiser step. A learner whose loss or gradient is
not finite leaves with its parameters as they were; the others go on.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from portal.bases.base import Base
from portal.config import Activations
from portal.data.token_rows import RowTable
from portal.device import is_out_of_memory
from portal.evaluate.written import AnswerJournal
from portal.learners.base import Learner
from portal.training.evaluator import Evaluator, FrozenScores
from portal.training.result_rows import Evaluation
from portal.training.train_step import Forwards, StepRecord, train_step
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
        self._forwards = Forwards(bases, max_tokens=max_tokens or {}, activations=activations)
        self._evaluator = Evaluator(bases, rows, self._forwards.hooks, self._workers, journal, frozen)
        self._records: list[StepRecord] = []  # since the last look at the device
        self._spent = 0.0  # seconds since then

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

        An error of memory is raised where a single row does not fit; no learner has half a step then.
        """
        started = time.perf_counter()
        learners = [learner for learner in self.active if learner.step < learner.num_steps]
        assert not any(learner.owed() for learner in learners), "evaluate what is due before the next step"
        try:
            self._records += train_step(learners, self._forwards, self._workers)
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
        records, self._records = self._records, []
        losses: dict[Learner, list[float]] = {}  # of every step
        for record, values in _read(records):
            wrong = next((place for place, value in enumerate(values) if not math.isfinite(value)), None)
            if record.learner.key in self.failed:
                continue
            if wrong is not None:
                record.learner.step = record.step
                self._fail(record.learner, f"{record.names[wrong]} is {values[wrong]}")
                continue
            own = values[: len(record.loss_K)]
            losses.setdefault(record.learner, []).append(sum(own) / len(own))
        everyone = self._workers.all_gather(sorted(self.failed))
        if any(failed != everyone[0] for failed in everyone):
            raise RuntimeError(
                f"the workers of this pack disagree about which runs have failed, {everyone}: they go on "
                "from the last checkpoint"
            )
        self._spent += time.perf_counter() - started
        total = sum(sum(record.tokens.values()) for record in records)
        for record in records:
            record.learner.wall_s += self._spent * sum(record.tokens.values()) / total
        self._spent = 0.0
        if records:
            self.losses = {learner.key: sum(own) / len(own) for learner, own in losses.items()}
        for learner, own in losses.items():
            for loss in own:
                learner.losses.add(loss)

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

    def _fail(self, learner: Learner, cause: str) -> None:
        where = f"run {learner.key} ({learner.run.describe()}), step {learner.step}"
        self.failed.setdefault(learner.key, f"{where}: {cause}")


def _read(records: Sequence[StepRecord]) -> Iterator[tuple[StepRecord, list[float]]]:
    """What each of the steps measured, losses before norms; waits for the device once."""
    if records:
        values = iter(torch.cat([record.values for record in records]).tolist())
        yield from ((record, list(islice(values, len(record.values)))) for record in records)


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
