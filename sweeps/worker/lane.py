"""`LaneWorker`: a lane's packs, one after another, through portal's calls. No Ray is imported here.

The same code runs in a Ray Train worker, in a Tune actor and in the user's own process. A lane takes the
first pack in its list that is free and whose sources are settled; when its own are done it helps the others.
"""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from portal.device import forget_peak_memory, is_out_of_memory, limit_gpu_memory, release_memory
from portal.messages import counted
from portal.training.worker_group import WorkerGroup
from sweeps.store.lease import Fence
from sweeps.store.run_store import FinishedRuns, RunStore
from sweeps.store.study_status import RunRequests
from sweeps.worker.build_learners import BASES, build_learners, held_bases, load_base
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.pack_checkpoint import PackCheckpoint
from sweeps.worker.pack_trainer import CommitGuard, PackTrainer

POLL_S = 0.5
_WAIT, _END = "wait", "end"  # what the leader of a worker group says beside a pack's key
_log = logging.getLogger(__name__)


class SettledRuns:
    """Runs that are finished, and runs that cannot start: one that they start from, at any depth, has failed.

    `elsewhere` are keys of artifacts that no run of the folder makes. The others' configs are in the folder.
    """

    def __init__(self, store: RunStore, elsewhere: Collection[str] = ()) -> None:
        self.finished = FinishedRuns(store, elsewhere)
        self._store, self._elsewhere = store, frozenset(elsewhere)
        self._parents: dict[str, tuple[str, ...]] = {}
        self._failed: dict[str, bool] = {}  # of finished runs

    def __contains__(self, key: str) -> bool:
        return key in self.finished or self._cannot_start(key)

    def _cannot_start(self, key: str) -> bool:
        """Whether a parent of the unfinished run has failed, or cannot start itself."""
        if key not in self._parents:
            self._parents[key] = self._store.read_run(key).parent_keys
        return any(
            self._has_failed(parent) if parent in self.finished else self._cannot_start(parent)
            for parent in self._parents[key]
        )

    def _has_failed(self, key: str) -> bool:
        """Whether the finished run left nothing to start from."""
        if key not in self._failed:
            self._failed[key] = key not in self._elsewhere and not self._store.is_done(key)
        return self._failed[key]


@contextmanager
def lane_log(path: Path) -> Iterator[None]:
    """Append log records of our packages, from INFO on, to the file, and send them nowhere else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("portal", "sweeps")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def run_lane(job: LaneJob, report: Callable[[int], None], *, group: WorkerGroup | None = None) -> None:
    """Work until no pack is left to take; `report` gets the number of packs finished so far.

    In a worker group the leader takes the packs and writes; the others step what it names. Raises LeaseLost
    or ClaimLost, with nothing committed after that, when the driver or the claim is gone.
    """
    torch.set_num_threads(job.threads)
    if job.device.startswith("cuda"):
        limit_gpu_memory(min(1.0, job.gpus_per_worker), job.num_gpus)
    worker = LaneWorker(job, report, group or WorkerGroup())
    for pack, guard in worker.lead() if worker.group.is_leader else worker.follow():
        worker.run_pack(pack, guard)


class LaneWorker:
    """A worker of a lane: its leader, which takes packs, or another of its worker group."""

    def __init__(self, job: LaneJob, report: Callable[[int], None], group: WorkerGroup) -> None:
        self.job, self.group = job, group
        self.run_store, self.session = job.run_store, job.session
        self._report, self._finished = report, 0

    def lead(self) -> Iterator[tuple[PackJob, CommitGuard]]:
        """Packs that are taken until none is left, waiting for those whose sources others train."""
        fence, attempt = Fence(self.job.folder, self.job.token), secrets.token_hex(8)
        if self.job.workers > 1:
            self.session.note_team(self.job.lane, "teams placed")
        settled = SettledRuns(self.run_store, self.job.sources)
        left, taken, awaited = list(self.job.packs), set[str](), set[str]()
        while True:
            fence.check()
            left = [pack for pack in left if not all(key in settled.finished for key in pack.runs)]
            waiting: list[PackJob] = []
            for pack in left:
                if not all(key in settled for key in pack.needs):
                    waiting.append(pack)
                    continue
                claim = self.session.claim(pack.key, self.job.lane, attempt)
                if claim is not None and pack.key not in taken:
                    taken.add(pack.key)
                    self.group.broadcast(pack.key)
                    yield pack, CommitGuard(fence, claim)
                    break
            else:
                self.session.write_progress(self.job.lane, {})
                teams = self.job.teams  # which take what this lane cannot, while they are there
                if not waiting or (teams and self.session.teams_have(teams, "teams ended")):
                    self.group.broadcast(_END)  # what others may still need is for another round
                    return
                self.group.broadcast(_WAIT)
                if waiting[0].key not in awaited:
                    awaited.add(waiting[0].key)
                    self._load_ahead(waiting)
                time.sleep(POLL_S)

    def follow(self) -> Iterator[tuple[PackJob, CommitGuard]]:
        """The packs that the leader of the group takes."""
        packs = {pack.key: pack for pack in self.job.packs}
        while (word := self.group.broadcast(_WAIT)) != _END:
            if word != _WAIT:
                yield packs[word], CommitGuard()

    def run_pack(self, pack: PackJob, guard: CommitGuard) -> None:
        """Bring every run of the pack to its end, from its latest checkpoint on.

        Runs that do not fit the device's memory together go on in halves, one after the other.
        """
        groups = [pack.runs]
        while groups:
            if self.group.is_leader:
                guard.check()
                RunRequests(self.job.folder).leave_out(pack.runs, self.job.log_path())
            left = tuple(key for key in groups.pop(0) if not self.run_store.is_finished(key))
            keys = self.group.broadcast(left)
            _log.info("pack %s: %d runs", pack.key, len(keys))
            if not self._run_together(pack, keys, guard):
                release_memory()
                half = -(-len(keys) // 2)
                groups = [keys[:half], keys[half:], *groups]
        members = self.job.pack_store.recorded_pack(pack.key) or pack.runs
        if self.group.is_leader and not any(map(self.run_store.keeps_state, members)):
            PackCheckpoint(self.run_store, self.job.pack_store, pack.key).clear()
        self._finished += 1
        self._report(self._finished)

    def _run_together(self, pack: PackJob, keys: tuple[str, ...], guard: CommitGuard) -> bool:
        """Bring these runs to their end; False, with their state saved, when memory is too small for all.

        A run that does not fit alone is marked as failed.
        """
        trainer: PackTrainer | None = None
        shortage: str | None = None
        try:
            runs = [self.run_store.read_run(key) for key in keys]
            needed = {ref for run in runs for ref in held_bases(run, self.group)}
            BASES.keep(needed, self.job.device)
            forget_peak_memory(self.job.device)
            learners = build_learners(self.job, runs, self.group)
            BASES.keep(needed, self.job.device)  # a transfer's source has served
            if learners:
                with self.group.all_or_none():
                    trainer = PackTrainer(self.job, pack, guard, learners, self.group)
                trainer.run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("pack %s: too large for memory (%s): %s", pack.key, counted(len(keys), "run"), error)
            shortage = str(error)
        if shortage is None:
            return True
        if trainer is not None:
            release_memory()  # after the block: its error holds what the failed forward has kept
            trainer.save()
        if len(keys) > 1:
            return False
        guard.check()
        if self.group.is_leader:
            (key,) = keys
            cause = f"run {key} ({self.run_store.read_run(key).describe()}) does not fit the device's memory"
            self.run_store.mark_failed(key, f"{cause}: {shortage}", self.job.log_path())
        return True

    def _load_ahead(self, waiting: Sequence[PackJob]) -> None:
        """Load the bases of the first pack that waits, unless those that are loaded are another's.

        A base that cannot be loaded is left to the pack, whose runs fail of it.
        """
        if any(set(pack.bases) == BASES.names for pack in waiting):
            return
        refs = self.run_store.read_run(waiting[0].runs[0]).bases
        BASES.keep(refs, self.job.device)
        for ref in refs:
            try:
                load_base(ref, self.job)
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                _log.warning("base %s cannot be loaded ahead: %s", ref.name, error)
                release_memory()
