"""The worker: a lane's packs, one after another, through portal's calls. No Ray is imported here.

The same code runs in a Ray Train worker, in a Tune actor and in the user's own process. A lane takes the
first pack in its list that is free and whose sources are finished; when its own are done it helps the others.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence

import torch

from portal.device import is_out_of_memory, release_memory
from portal.storage.paths import open_folder
from portal.training.worker_group import WorkerGroup
from sweeps.store.lease import Fence
from sweeps.store.run_store import FinishedRuns, Store
from sweeps.worker.build_learners import BASES, build_learners, held_bases
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.pack_checkpoint import PackCheckpoint
from sweeps.worker.pack_trainer import CommitGuard, PackTrainer

POLL_S = 0.5
_WAIT, _END = "wait", "end"  # what the leader of a team says beside a pack's key
_log = logging.getLogger(__name__)


def run_lane(job: LaneJob, report: Callable[[int], None], *, team: WorkerGroup | None = None) -> None:
    """Work until no pack is left to take; `report` gets the number of packs finished so far.

    In a `team` the first worker takes the packs and writes; the others step what it names. Raises LeaseLost
    or ClaimLost, with nothing committed after that, when the driver or the claim is gone.
    """
    torch.set_num_threads(job.threads)
    team = team or WorkerGroup()
    if not team.is_leader:
        _follow(job, report, team)
        return
    store, attempt = Store(open_folder(job.out)), secrets.token_hex(8)
    fence = Fence(store.out, job.token)
    if job.workers > 1:
        store.note_team(job.token, job.lane, "teams placed")
    done = FinishedRuns(store, job.sources)
    left = list(job.packs)
    taken: set[str] = set()
    awaited: set[str] = set()
    finished = 0
    while True:
        fence.check()
        waiting: list[PackJob] = []
        left = [pack for pack in left if not all(key in done for key in pack.runs)]
        for pack in left:
            if not all(key in done for key in pack.needs):
                waiting.append(pack)
                continue
            claim = store.claim(job.token, pack.key, job.lane, attempt)
            if claim is not None and pack.key not in taken:
                taken.add(pack.key)
                team.broadcast(pack.key)
                run_pack(job, pack, store, CommitGuard(fence, claim), team)
                finished += 1
                report(finished)
                break
        else:
            store.write_progress(job.lane, {})
            if not waiting or (job.teams and store.teams_have(job.token, job.teams, "teams ended")):
                team.broadcast(_END)  # what others may still need is for another round
                return
            team.broadcast(_WAIT)
            if waiting[0].key not in awaited:
                awaited.add(waiting[0].key)
                _load_ahead(job, waiting, store)
            time.sleep(POLL_S)


def _follow(job: LaneJob, report: Callable[[int], None], team: WorkerGroup) -> None:
    """Step with the leader of the team the packs that it takes."""
    store, packs = Store(open_folder(job.out)), {pack.key: pack for pack in job.packs}
    finished = 0
    while (word := team.broadcast(_WAIT)) != _END:
        if word != _WAIT:
            run_pack(job, packs[word], store, CommitGuard(), team)
            finished += 1
            report(finished)


def run_pack(job: LaneJob, pack: PackJob, store: Store, permit: CommitGuard, team: WorkerGroup) -> None:
    """Bring every run of the pack to its end, from its latest checkpoint on.

    Runs that do not fit the device's memory together go on in halves, one after the other.
    """
    groups = [pack.runs]
    while groups:
        keys = team.broadcast(tuple(key for key in groups.pop(0) if not store.is_finished(key)))
        _log.info("pack %s: %d runs", pack.key, len(keys))
        if not _run_together(job, pack, keys, store, permit, team):
            release_memory()
            half = -(-len(keys) // 2)
            groups = [keys[:half], keys[half:], *groups]
    if team.is_leader and all(store.is_finished(key) for key in pack.runs):
        PackCheckpoint(store, pack.key).clear()


def _run_together(
    job: LaneJob, pack: PackJob, keys: tuple[str, ...], store: Store, permit: CommitGuard, team: WorkerGroup
) -> bool:
    """Bring these runs to their end; False, with their state saved, when memory is too small for all of them.

    A run that does not fit alone is marked as failed.
    """
    session = None
    try:
        runs = [store.read_run(key) for key in keys]
        needed = {ref for run in runs for ref in held_bases(run, team)}
        BASES.keep(needed, job.device)
        learners = build_learners(job, runs, store, team)
        BASES.keep(needed, job.device)  # a transfer's source has served
        if learners:
            with team.all_or_none():
                session = PackTrainer(job, pack, store, permit, learners, team)
            session.run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _log.warning("pack %s: %d run(s) do not fit into memory: %s", pack.key, len(keys), error)
        if session is not None:
            session.save()
        if len(keys) > 1:
            return False
        permit.check()
        if not team.is_leader:
            return True
        cause = f"run {keys[0]} ({store.read_run(keys[0]).describe()}) does not fit the device's memory"
        store.mark_failed(keys[0], f"{cause}: {error}", store.log_path(job.lane))
    return True


def _load_ahead(job: LaneJob, waiting: Sequence[PackJob], store: Store) -> None:
    """The bases of the first pack that waits, unless those that are loaded are another's.

    A base that cannot be loaded is left to the pack, whose runs fail of it.
    """
    if any(set(pack.bases) == BASES.names for pack in waiting):
        return
    refs = store.read_run(waiting[0].runs[0]).bases
    BASES.keep(refs, job.device)
    for ref in refs:
        try:
            BASES.load(ref, job.device, store, job.token)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            _log.warning("base %s cannot be loaded ahead: %s", ref.name, error)
            release_memory()
