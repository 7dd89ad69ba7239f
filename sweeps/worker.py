"""The worker: a lane's packs, one after another, through portal's calls. No Ray is imported here.

The same code runs in a Ray Train worker, in a Tune actor and in the user's own process. A lane takes the
first pack in its list that is free and whose sources are finished; when its own are done it helps the others.
"""

import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from portal.artifact import CONFIG, WEIGHTS
from portal.bases import Base, outline_base
from portal.config import TRANSFERS, Activations, BaseRef, RunConfig
from portal.folder import Folder, fetched, local_place, open_folder
from portal.hypernet_learner import artifact_subfolder
from portal.learner import Learner
from portal.learners import build_learner
from portal.lora_transfer import TrainedLoras, transfer_loras
from portal.out_of_memory import is_out_of_memory, release_memory
from portal.pack import Pack
from portal.row_cache import read_cache
from portal.rows import RowTable
from portal.team import Team
from sweeps.frozen_bases import FrozenBases
from sweeps.lease import Fence
from sweeps.pack_state import PackState
from sweeps.store import Claim, FinishedRuns, Store

POLL_S = 0.5
_WAIT, _END = "wait", "end"  # what the leader of a team says beside a pack's key
CHECKPOINT_S = 60.0
"""Seconds between checkpoints, unless PORTAL_CHECKPOINT_S says otherwise."""
_log = logging.getLogger(__name__)
_bases = FrozenBases()
_rows: dict[str, RowTable] = {}


def checkpoint_interval_s() -> float:
    """Seconds between checkpoints; ValueError when PORTAL_CHECKPOINT_S is no positive number."""
    text = os.environ.get("PORTAL_CHECKPOINT_S", str(CHECKPOINT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"PORTAL_CHECKPOINT_S={text!r} is not a positive number of seconds")
    return seconds


Start = Literal["now", "teams placed", "teams ended"]
"""When a lane begins, where some lanes have several workers."""


@dataclass(frozen=True)
class PackJob:
    """A pack as a worker needs it: `bases` by name, and in `needs` the source runs to wait for."""

    key: str
    stage: int
    runs: tuple[str, ...]
    needs: tuple[str, ...]
    bases: tuple[str, ...]
    max_tokens: Mapping[str, int] = field(default_factory=dict)  # of one forward, by base


@dataclass(frozen=True)
class LaneJob:
    """What one lane is asked to do: plain values only."""

    out: str
    token: str  # of the driver's lease
    lane: int
    packs: tuple[PackJob, ...]  # in the order in which this lane prefers them
    rows: Mapping[str, str]  # base name -> token cache
    sources: Mapping[str, str] = field(default_factory=dict)  # digest -> folder of an artifact made elsewhere
    device: str = "cpu"
    threads: int = 1
    workers: int = 1  # that step each pack together
    teams: tuple[int, ...] = ()  # lanes whose packs this one cannot take
    start: Start = "now"
    activations: Activations = "keep"
    workdir: str = field(default_factory=os.getcwd)  # where relative paths of bases start
    checkpoint_s: float = field(default_factory=checkpoint_interval_s)


def run_lane(job: LaneJob, report: Callable[[int], None], *, team: Team | None = None) -> None:
    """Work until no pack is left to take; `report` gets the number of packs finished so far.

    In a `team` the first worker takes the packs and writes; the others step what it names. Raises LeaseLost
    or ClaimLost, with nothing committed after that, when the driver or the claim is gone.
    """
    torch.set_num_threads(job.threads)
    team = team or Team()
    if not team.leads:
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
                team.follow(pack.key)
                run_pack(job, pack, store, _Permit(fence, claim), team)
                finished += 1
                report(finished)
                break
        else:
            store.write_progress(job.lane, {})
            if not waiting or (job.teams and store.teams_have(job.token, job.teams, "teams ended")):
                team.follow(_END)  # what others may still need is for another round
                return
            team.follow(_WAIT)
            if waiting[0].key not in awaited:
                awaited.add(waiting[0].key)
                _load_ahead(job, waiting, store)
            time.sleep(POLL_S)


def _follow(job: LaneJob, report: Callable[[int], None], team: Team) -> None:
    """Step with the leader of the team the packs that it takes."""
    store, packs = Store(open_folder(job.out)), {pack.key: pack for pack in job.packs}
    finished = 0
    while (word := team.follow(_WAIT)) != _END:
        if word != _WAIT:
            run_pack(job, packs[word], store, _Permit(), team)
            finished += 1
            report(finished)


def run_pack(job: LaneJob, pack: PackJob, store: Store, permit: "_Permit", team: Team) -> None:
    """Bring every run of the pack to its end, from its latest checkpoint on.

    Runs that do not fit the device's memory together go on in halves, one after the other.
    """
    groups = [pack.runs]
    while groups:
        keys = team.follow(tuple(key for key in groups.pop(0) if not store.is_finished(key)))
        _log.info("pack %s: %d runs", pack.key, len(keys))
        if not _run_together(job, pack, keys, store, permit, team):
            release_memory()
            half = -(-len(keys) // 2)
            groups = [keys[:half], keys[half:], *groups]
    if team.leads and all(store.is_finished(key) for key in pack.runs):
        PackState(store, pack.key).clear()


def _run_together(
    job: LaneJob, pack: PackJob, keys: tuple[str, ...], store: Store, permit: "_Permit", team: Team
) -> bool:
    """Bring these runs to their end; False, with their state saved, when memory is too small for all of them.

    A run that does not fit alone is marked as failed.
    """
    session = None
    try:
        runs = [store.read_run(key) for key in keys]
        needed = {ref for run in runs for ref in _held(run, team)}
        _bases.keep(needed, job.device)
        learners = _build_learners(job, runs, store, team)
        _bases.keep(needed, job.device)  # a transfer's source has served
        if learners:
            with team.together():
                session = _Session(job, pack, store, permit, learners, team)
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
        if not team.leads:
            return True
        cause = f"run {keys[0]} ({store.read_run(keys[0]).describe()}) does not fit the device's memory"
        store.mark_failed(keys[0], f"{cause}: {error}", store.log_path(job.lane))
    return True


class _Permit:
    """The right to commit: the driver's lease and the claim on the pack both still hold.

    Who commits nothing, as all but the leader of a team, needs neither.
    """

    def __init__(self, fence: Fence | None = None, claim: Claim | None = None) -> None:
        self._checks = [each for each in (fence, claim) if each is not None]

    def check(self) -> None:
        for each in self._checks:
            each.check()


class _Session:
    """One pack in training."""

    def __init__(
        self,
        job: LaneJob,
        pack: PackJob,
        store: Store,
        permit: _Permit,
        learners: list[Learner],
        team: Team,
    ) -> None:
        self._job, self._pack, self._store, self._permit = job, pack, store, permit
        self._team = team
        self._state = PackState(store, pack.key)
        max_tokens = dict(pack.max_tokens) | self._state.restore(learners)
        bases = {name: base for learner in learners for name, base in learner.bases.items()}
        rows = {name: load_rows(job.rows[name]) for name in bases}
        self._learners = Pack(
            bases, rows, learners, max_tokens=max_tokens, activations=job.activations, team=team
        )
        self._stopped: set[str] = set()
        self._present = learners  # without a marker as yet
        self._saved_at = time.monotonic()
        self._meter = _Meter(job, pack, store)

    def run(self) -> None:
        while self._present:
            evaluated = self._evaluate()
            if self._leaving() or self._checkpoint_is_due(evaluated=evaluated):
                self.save()
            for learner in self._leaving():
                self._mark(learner)
            if self._learners.active:
                steps = self._learners.step()
                self._report(steps)

    def _report(self, steps: int) -> None:
        if self._team.leads:
            self._meter.update(self._present, steps, self._learners.losses)

    def save(self) -> None:
        """All who are present, at one step: who leaves is marked only after that."""
        self._permit.check()
        self._learners.settle()
        max_tokens = self._team.least(self._learners.max_tokens)
        if self._team.leads:
            self._state.save(self._present, max_tokens, self._permit.check)
        self._saved_at = time.monotonic()

    def _evaluate(self) -> bool:
        due = self._learners.due()
        for learner, epoch in due:
            evaluation = self._learners.evaluate(learner, epoch)
            if evaluation.results and self._team.leads:
                self._state.add(learner.key, evaluation)
            self._report(0)
        if due:
            self._stopped = self._team.follow(self._store.stops())
        return bool(due)

    def _leaving(self) -> list[Learner]:
        """Those that have ended, well or not, and those that shall not go on."""
        failed = self._learners.failed
        return [
            learner
            for learner in self._present
            if learner.done or learner.key in failed or learner.key in self._stopped
        ]

    def _checkpoint_is_due(self, *, evaluated: bool) -> bool:
        """An evaluation is worth keeping earlier than steps are."""
        interval = self._job.checkpoint_s / 4 if evaluated else self._job.checkpoint_s
        return self._team.follow(time.monotonic() - self._saved_at >= interval)

    def _mark(self, learner: Learner) -> None:
        self._present.remove(learner)
        stopped = not learner.done and learner.key not in self._learners.failed
        if stopped:
            self._learners.leave(learner)
        if not self._team.leads:
            return
        self._permit.check()
        key = learner.key
        if key in self._learners.failed:
            _log.error("%s", self._learners.failed[key])
            self._store.mark_failed(key, self._learners.failed[key], self._store.log_path(self._job.lane))
        elif stopped:
            cause = f"stopped by a search at epoch {learner.epoch}"
            self._store.mark_failed(key, cause, self._store.log_path(self._job.lane), lost=True)
        else:
            self._state.finish(learner, self._permit.check)


class _Meter:
    """Writes how far a pack is about once a second."""

    def __init__(self, job: LaneJob, pack: PackJob, store: Store) -> None:
        self._job, self._pack, self._store = job, pack, store
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
        self._store.write_progress(self._job.lane, progress)


def load_rows(folder: str) -> RowTable:
    """The token cache, read once per process."""
    if folder not in _rows:
        _rows[folder] = read_cache(open_folder(folder))
    return _rows[folder]


def _load_ahead(job: LaneJob, waiting: Sequence[PackJob], store: Store) -> None:
    """The bases of the first pack that waits, unless those that are loaded are another's.

    A base that cannot be loaded is left to the pack, whose runs fail of it.
    """
    if any(set(pack.bases) == _bases.names for pack in waiting):
        return
    refs = store.read_run(waiting[0].runs[0]).bases
    _bases.keep(refs, job.device)
    for ref in refs:
        try:
            _bases.load(ref, job.device, store, job.token)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            _log.warning("base %s cannot be loaded ahead: %s", ref.name, error)
            release_memory()


def _held(run: RunConfig, team: Team) -> list[BaseRef]:
    """The run's bases whose rows this worker runs."""
    return [ref for place, ref in enumerate(run.bases) if team.holds(place, len(run.bases))]


def _build_learners(job: LaneJob, runs: Sequence[RunConfig], store: Store, team: Team) -> list[Learner]:
    """Learners of these runs; one that cannot be built, by any worker of the team, is marked as failed."""
    learners: list[Learner] = []
    causes: dict[str, str] = {}
    with team.together():
        for run in runs:
            if run.source is not None and run.source not in job.sources and not store.is_done(run.source):
                continue  # its source failed: the driver says so
            try:
                learners.append(_build_with_bases(run, job, store, team))
            except ValueError as error:
                _log.exception("run %s cannot start", run.key)
                causes[run.key] = f"run {run.key} ({run.describe()}): {error}"
    for own in team.gather(causes):
        causes = own | causes
    if team.leads:
        for key, cause in causes.items():
            store.mark_failed(key, cause, store.log_path(job.lane))
    return [learner for learner in learners if learner.key not in causes]


def _build_with_bases(run: RunConfig, job: LaneJob, store: Store, team: Team) -> Learner:
    held = _held(run, team)
    bases = {
        ref.name: _bases.load(ref, job.device, store, job.token)
        if ref in held
        else outline_base(ref.name, revision=ref.revision)
        for ref in run.bases
    }
    rows = {name: load_rows(job.rows[name]) for name in bases}
    return _build_learner(run, bases, rows, job, store)


def _build_learner(
    run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], job: LaneJob, store: Store
) -> Learner:
    source = _source_folder(run, job, store)
    with fetched(source) if source is not None else nullcontext() as folder:
        if run.method not in TRANSFERS:
            return build_learner(run, bases, rows, source=folder)
        trained = None
        if folder is not None and run.source is not None:
            (base,) = store.read_run(run.source).bases
            trained = TrainedLoras(folder, base, local_place(store.out) / "cache" / "bases")
        transferred = transfer_loras(
            run,
            bases[run.bases[0].name],
            trained,
            lambda ref: _bases.load(ref, job.device, store, job.token),
        )
    return build_learner(run, bases, rows, transferred=transferred)


def _source_folder(run: RunConfig, job: LaneJob, store: Store) -> Folder | None:
    """The verified artifact that a port or a transfer starts from; None for what starts from nothing."""
    if run.source is None:
        return None
    if run.source in job.sources:
        return Path(job.sources[run.source])
    assert run.source_bases is not None
    if run.method in TRANSFERS:
        place, names = "artifact", [f"{task}/adapter_model.safetensors" for task in run.data.tasks]
    else:
        place, names = f"artifact/{artifact_subfolder(run.source_bases[0])}", [CONFIG, WEIGHTS]
    store.verify(run.source, [f"{place}/{name}" for name in names])
    return store.run_folder(run.source) / place
