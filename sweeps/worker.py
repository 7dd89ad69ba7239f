"""The worker: a lane's packs, one after another, through portal's calls. No Ray is imported here.

The same code runs in a Ray Train worker, in a Tune actor and in the user's own process. A lane takes the
first pack in its list that is free and whose sources are finished; when its own are done it helps the others.
"""

import logging
import math
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from portal.artifact import CONFIG, WEIGHTS
from portal.base_files import hub_weights_digest
from portal.bases import Base, load_base
from portal.config import TRANSFERS, BaseRef, RunConfig
from portal.hypernet_learner import artifact_subfolder
from portal.learner import Learner
from portal.learners import build_learner
from portal.lora_transfer import TrainedLoras, transfer_loras
from portal.pack import Pack
from portal.rows import RowTable, read_cache
from sweeps.lease import Fence
from sweeps.pack_state import PackState
from sweeps.store import Claim, Store

POLL_S = 0.5
CHECKPOINT_S = 20.0
"""Seconds between checkpoints, unless PORTAL_CHECKPOINT_S says otherwise."""
_log = logging.getLogger(__name__)
_bases: dict[tuple[BaseRef, str], Base] = {}
_rows: dict[Path, RowTable] = {}


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


@dataclass(frozen=True)
class PackJob:
    """A pack as a worker needs it. `needs` are the source runs to wait for."""

    key: str
    stage: int
    runs: tuple[str, ...]
    needs: tuple[str, ...]


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
    workdir: str = field(default_factory=os.getcwd)  # where relative paths of bases start
    checkpoint_s: float = field(default_factory=checkpoint_interval_s)


def run_lane(job: LaneJob, report: Callable[[int], None]) -> None:
    """Work until no pack is left to take; `report` gets the number of packs finished so far.

    Raises LeaseLost or ClaimLost, with nothing committed after that, when the driver or the claim is gone.
    """
    torch.set_num_threads(job.threads)
    store, attempt = Store(Path(job.out)), secrets.token_hex(8)
    fence = Fence(store.out, job.token)
    taken: set[str] = set()
    finished = 0
    while True:
        fence.check()
        waiting = False
        for pack in job.packs:
            if all(store.is_finished(key) for key in pack.runs):
                continue
            if not all(store.is_finished(key) or key in job.sources for key in pack.needs):
                waiting = True
                continue
            claim = store.claim(job.token, pack.key, job.lane, attempt)
            if claim is not None and pack.key not in taken:
                taken.add(pack.key)
                run_pack(job, pack, store, _Permit(fence, claim))
                finished += 1
                report(finished)
                break
        else:
            store.write_progress(job.lane, {})
            if not waiting:
                return
            time.sleep(POLL_S)


def run_pack(job: LaneJob, pack: PackJob, store: Store, permit: "_Permit") -> None:
    """Bring every run of the pack to its end, from its latest checkpoint on."""
    _log.info("pack %s: %d runs", pack.key, len(pack.runs))
    learners = _build_learners(job, pack, store)
    if not learners:
        return
    state = PackState(store, pack.key)
    state.restore(learners)
    names = dict.fromkeys(name for learner in learners for name in learner.bases)
    rows = {name: load_rows(Path(job.rows[name])) for name in names}
    bases = {name: base for learner in learners for name, base in learner.bases.items()}
    _Session(job, pack, store, permit, state, Pack(bases, rows, learners)).run()
    state.clear()


class _Permit:
    """The right to commit: the driver's lease and the claim on the pack both still hold."""

    def __init__(self, fence: Fence, claim: Claim) -> None:
        self._fence, self._claim = fence, claim

    def check(self) -> None:
        self._fence.check()
        self._claim.check()


class _Session:
    """One pack in training."""

    def __init__(
        self, job: LaneJob, pack: PackJob, store: Store, permit: _Permit, state: PackState, learners: Pack
    ) -> None:
        self._job, self._pack, self._store, self._permit = job, pack, store, permit
        self._state, self._learners = state, learners
        self._present = list(learners.learners)  # without a marker as yet
        self._saved_at = time.monotonic()
        self._meter = _Meter(job, pack, store)

    def run(self) -> None:
        while self._present:
            evaluated = self._evaluate()
            leaving = [learner for learner in self._present if self._has_ended(learner)]
            if leaving or self._checkpoint_is_due(evaluated=evaluated):
                self._save()
            for learner in leaving:
                self._mark(learner)
            if self._learners.active:
                losses = self._learners.step()
                self._meter.update(self._present, losses)

    def _evaluate(self) -> bool:
        due = self._learners.due()
        for learner, epoch in due:
            evaluation = self._learners.evaluate(learner, epoch)
            if evaluation.results:
                self._state.add(learner.run.key, evaluation)
            self._meter.update(self._present, {})
        return bool(due)

    def _has_ended(self, learner: Learner) -> bool:
        return learner.done or learner.run.key in self._learners.failed

    def _checkpoint_is_due(self, *, evaluated: bool) -> bool:
        """An evaluation is worth keeping earlier than steps are."""
        interval = self._job.checkpoint_s / 4 if evaluated else self._job.checkpoint_s
        return time.monotonic() - self._saved_at >= interval

    def _save(self) -> None:
        """All who are present at one step: who leaves is marked only after that."""
        self._permit.check()
        self._state.save(self._present)
        self._saved_at = time.monotonic()

    def _mark(self, learner: Learner) -> None:
        self._permit.check()
        key = learner.run.key
        if key in self._learners.failed:
            _log.error("%s", self._learners.failed[key])
            self._store.mark_failed(key, self._learners.failed[key], self._store.log_path(self._job.lane))
        else:
            self._state.finish(learner)
        self._present.remove(learner)


class _Meter:
    """Writes how far a pack is about once a second."""

    def __init__(self, job: LaneJob, pack: PackJob, store: Store) -> None:
        self._job, self._pack, self._store = job, pack, store
        self._steps, self._loss = 0, 0.0
        self._started, self._written = time.monotonic(), -math.inf

    def update(self, learners: list[Learner], losses: dict[str, float]) -> None:
        if losses:
            self._steps += len(losses)
            self._loss = sum(losses.values()) / len(losses)
        now = time.monotonic()
        if now - self._written < 1.0:
            return
        progress = {
            "pack": self._pack.key,
            "stage": self._pack.stage,
            "pid": os.getpid(),
            "runs": {learner.run.key: [learner.step, learner.num_steps] for learner in learners},
            "steps_per_s": self._steps / (now - self._started),
            "loss": self._loss if self._steps else None,
        }
        self._written = now
        self._store.write_progress(self._job.lane, progress)


def load_rows(folder: Path) -> RowTable:
    """The token cache, read once per process."""
    if folder not in _rows:
        _rows[folder] = read_cache(folder)
    return _rows[folder]


def _load_base(ref: BaseRef, device: str, store: Store) -> Base:
    """The frozen base, loaded once per process; its weights are those that `store` has on record."""
    identity = (ref, device)
    if identity not in _bases:
        base = load_base(ref.name, device=device, revision=ref.revision, precision=ref.precision)
        digest = hub_weights_digest(ref.name, ref.revision)
        if digest is not None:
            store.check_weights(ref, digest)
        _bases[identity] = base
    return _bases[identity]


def _build_learners(job: LaneJob, pack: PackJob, store: Store) -> list[Learner]:
    """Learners of the runs that are not finished; one that cannot be built is marked as failed."""
    learners = []
    for key in pack.runs:
        if store.is_finished(key):
            continue
        run = store.read_run(key)
        if run.source is not None and run.source not in job.sources and not store.is_done(run.source):
            continue  # its source failed: the driver says so
        try:
            bases = {ref.name: _load_base(ref, job.device, store) for ref in run.bases}
            rows = {name: load_rows(Path(job.rows[name])) for name in bases}
            learners.append(_build_learner(run, bases, rows, job, store))
        except ValueError as error:
            _log.exception("run %s cannot start", key)
            store.mark_failed(key, f"run {key} ({run.describe()}): {error}", store.log_path(job.lane))
    return learners


def _build_learner(
    run: RunConfig, bases: dict[str, Base], rows: dict[str, RowTable], job: LaneJob, store: Store
) -> Learner:
    if run.method not in TRANSFERS:
        return build_learner(run, bases, rows, source=_source_folder(run, job, store))
    target = bases[run.bases[0].name]
    trained = _trained_loras(run, store)
    transferred = transfer_loras(run, target, trained, lambda ref: _load_base(ref, job.device, store))
    return build_learner(run, bases, rows, transferred=transferred)


def _trained_loras(run: RunConfig, store: Store) -> TrainedLoras | None:
    """The finished LoRA run that a transfer starts from; None for a control that starts from nothing."""
    if run.source is None:
        return None
    files = [f"artifact/{task}/adapter_model.safetensors" for task in run.data.tasks]
    store.verify(run.source, files)
    (base,) = store.read_run(run.source).bases
    return TrainedLoras(store.run_folder(run.source) / "artifact", base, store.out / "cache" / "bases")


def _source_folder(run: RunConfig, job: LaneJob, store: Store) -> Path | None:
    if run.source is None:
        return None
    if run.source in job.sources:
        return Path(job.sources[run.source])
    assert run.source_bases is not None
    artifact = Path("artifact") / artifact_subfolder(run.source_bases[0])
    store.verify(run.source, [str(artifact / name) for name in (CONFIG, WEIGHTS)])
    return store.run_folder(run.source) / artifact
