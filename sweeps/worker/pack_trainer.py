"""`PackTrainer`: one pack in training: steps, evaluations, checkpoints, and the end of every run."""

import logging
import math
import os
import time

from portal.learners.base import Learner
from portal.storage.object_store import ObjectPath
from portal.training.pack import SYNC_STEPS, Pack, align_replicas
from portal.training.worker_group import WorkerGroup
from sweeps.store.lease import Fence
from sweeps.store.session import Claim
from sweeps.store.study_status import Request, RunRequests
from sweeps.worker.build_learners import FROZEN, load_rows
from sweeps.worker.job import CHECKPOINT_RATIO, CHECKPOINT_S, LaneJob, PackJob
from sweeps.worker.pack_checkpoint import PackCheckpoint

_log = logging.getLogger(__name__)
HEAR_S, HEAR_AT_STORE_S = 2.0, 10.0
"""Seconds between looks at what people ask of runs; in an object store each look is a request."""
DRIFTED = "the workers' parameters differed; all have the first worker's now"
"""What the log says of replicas that were not alike; gpu-check looks for it."""


class CommitGuard:
    """The right to commit: the driver's lease and the claim on the pack both still hold.

    Workers that are not the leader of their group never write, so they hold neither.
    """

    def __init__(self, fence: Fence | None = None, claim: Claim | None = None) -> None:
        self._checks = [each for each in (fence, claim) if each is not None]

    def check(self) -> None:
        for each in self._checks:
            each.check()


class PackTrainer:
    """A pack in training, from its newest checkpoint to the markers of all its runs."""

    def __init__(
        self, job: LaneJob, pack: PackJob, guard: CommitGuard, learners: list[Learner], group: WorkerGroup
    ) -> None:
        self._job, self._guard, self._group = job, guard, group
        self._run_store, self._session = job.run_store, job.session
        self._state = PackCheckpoint(job.run_store, job.pack_store, pack.key)
        max_tokens = dict(pack.max_tokens) | self._state.restore(learners)
        bases = {name: base for learner in learners for name, base in learner.bases.items()}
        rows = {name: load_rows(job.rows[name]) for name in bases}
        self._learners = Pack(
            bases,
            rows,
            learners,
            max_tokens=max_tokens,
            activations=job.activations,
            workers=group,
            journal=self._state.journal(guard.check) if group.is_leader else None,
            frozen=FROZEN,
        )
        self._stopped: set[str] = set()
        self._requests = RunRequests(job.folder)
        self._asked: dict[str, Request] = {}
        self._heard_at = -math.inf
        self._hear_s = HEAR_AT_STORE_S if isinstance(job.folder, ObjectPath) else HEAR_S
        self._present = learners  # without a marker as yet
        self._saved_at, self._stepped = time.monotonic(), False
        self._meter = _Meter(job, pack)

    def run(self) -> None:
        """Bring every run of the pack to its end."""
        with self._state.writing():
            self._report(0)
            while self._present:
                evaluated = self._evaluate()
                self._hear_requests()
                if self._leaving() or self._checkpoint_is_due(evaluated=evaluated):
                    self.save(wait=False)
                if leaving := self._leaving():
                    self._state.writer.wait()
                for learner in leaving:
                    self._mark(learner)
                if self._learners.active:
                    steps = self._learners.step()
                    self._stepped = True
                    self._report(steps)
                self._state.writer.check()

    def _report(self, steps: int) -> None:
        if self._group.is_leader:
            self._meter.update(self._present, steps, self._learners.losses)

    def save(self, *, wait: bool = True) -> None:
        """Checkpoint every learner still in the pack at the same step, and see that its replicas are alike.

        Runs that end are marked done or failed only after this checkpoint exists; the others go on while it
        is written.
        """
        self._guard.check()
        self._learners.sync_metrics()
        for learner in align_replicas(self._present, self._group):
            _log.warning("run %s, step %d: %s", learner.key, learner.step, DRIFTED)
        max_tokens = self._group.all_reduce_min(self._learners.max_tokens)
        if self._group.is_leader:
            self._state.save(self._present, max_tokens, self._guard.check, wait=wait)
        self._saved_at, self._stepped = time.monotonic(), False

    def _evaluate(self) -> bool:
        evaluated = False
        self._keep_before_answers()
        # After the last evaluation the test rows of the kept one may follow.
        while due := self._learners.due():
            evaluated = True
            for learner, epoch in due:
                evaluation = self._learners.evaluate(learner, epoch)
                if evaluation.results and self._group.is_leader:
                    self._state.add(learner.key, evaluation)
                self._report(0)
        if evaluated:
            self._stopped = self._group.broadcast(self._session.stops())
        return evaluated

    def _keep_before_answers(self) -> None:
        """Save before answers are written, as often as checkpoints may take time: an evaluation that is
        interrupted finds its answers where its adapters are the same to the last bit, which training again
        does not give on every device.
        """
        writes = any(learner.run.data.answers for learner, _ in self._learners.due())
        rested = time.monotonic() - self._saved_at >= CHECKPOINT_RATIO * self._state.writer.seconds
        if writes and self._stepped and self._group.broadcast(rested):
            self.save()

    def _hear_requests(self) -> None:
        """What people ask of the learners, heard by the leader once in a while, and by all workers alike."""
        if all(learner.step % SYNC_STEPS for learner in self._present):
            return
        if self._group.is_leader and time.monotonic() - self._heard_at >= self._hear_s:
            self._heard_at = time.monotonic()
            present = {learner.key for learner in self._present}
            self._asked = {
                key: request
                for key, request in self._requests.asked().items()
                if key in present and request != "retry"
            }
        self._asked = self._group.broadcast(self._asked)

    def _leaving(self) -> list[Learner]:
        """Learners that have ended, well or not, and those that a search or people want to leave."""
        ended = {*self._learners.failed, *self._stopped, *self._asked}
        return [learner for learner in self._present if learner.done or learner.key in ended]

    def _checkpoint_is_due(self, *, evaluated: bool) -> bool:
        """Whether a checkpoint is due, for all workers alike; sooner where an evaluation is to be kept.

        Unless the interval is the user's, so many times what the last one took lies between two.
        """
        wanted = self._job.checkpoint_s or CHECKPOINT_S
        interval = wanted / 4 if evaluated else wanted
        if self._job.checkpoint_s is None:
            interval = max(interval, CHECKPOINT_RATIO * self._state.writer.seconds)
        return self._group.broadcast(time.monotonic() - self._saved_at >= interval)

    def _mark(self, learner: Learner) -> None:
        self._present.remove(learner)
        stopped = not learner.done and learner.key not in self._learners.failed
        request = self._asked.pop(learner.key, None)
        if stopped:
            self._learners.leave(learner)
        if not self._group.is_leader:
            return
        self._guard.check()
        key = learner.key
        if key in self._learners.failed:
            _log.error("%s", self._learners.failed[key])
            self._state.leave_losses(learner)
            self._run_store.mark_failed(key, self._learners.failed[key], self._job.log_path())
        elif stopped and request is not None:
            if request == "pause":
                self._state.set_aside(learner)
            self._requests.mark(key, request, f"at step {learner.step}", self._job.log_path())
        elif stopped:
            cause = f"stopped by a search at epoch {learner.epoch}"
            self._run_store.mark_failed(key, cause, self._job.log_path(), lost=True)
        else:
            self._state.finish(learner, self._guard.check, log=self._job.log_path().name)
        self._requests.withdraw(key)  # one that came too late, too


class _Meter:
    """Writes how far a pack is, about once a second."""

    def __init__(self, job: LaneJob, pack: PackJob) -> None:
        self._lane, self._pack, self._session = job.lane, pack, job.session
        self._steps = 0
        self._started, self._written = time.monotonic(), -math.inf

    def update(self, learners: list[Learner], steps: int, losses: dict[str, float]) -> None:
        self._steps += steps
        now = time.monotonic()
        if now - self._written < 1.0:
            return
        progress = {
            "pack": self._pack.key,
            "stage": self._pack.stage,
            "pid": os.getpid(),
            "runs": {learner.key: [learner.step, learner.num_steps] for learner in learners},
            "steps_per_s": self._steps / (now - self._started),
            "loss": sum(losses.values()) / len(losses) if losses else None,
        }
        self._written = now
        self._session.write_progress(self._lane, progress)
