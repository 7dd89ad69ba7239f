"""From the runs of a pack to learners: their bases, rows and sources, each loaded once a process."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from portal.artifacts.artifact import CONFIG, WEIGHTS
from portal.bases.base import Base, outline_base
from portal.config import TRANSFERS, BaseRef, RunConfig
from portal.data.token_cache import read_cache
from portal.data.token_rows import RowTable
from portal.learners.base import Learner
from portal.learners.factory import build_learner
from portal.learners.hypernet import artifact_subfolder
from portal.learners.transfer import TrainedLoras, transfer_loras
from portal.storage.paths import Folder, fetched, local_place, open_folder
from portal.training.worker_group import WorkerGroup
from sweeps.store.run_store import Store
from sweeps.worker.base_cache import BaseCache
from sweeps.worker.job import LaneJob

BASES = BaseCache()
"""Of this process."""
_log = logging.getLogger(__name__)
_rows: dict[str, RowTable] = {}


def load_rows(folder: str) -> RowTable:
    """The token cache, read once per process."""
    if folder not in _rows:
        _rows[folder] = read_cache(open_folder(folder))
    return _rows[folder]


def held_bases(run: RunConfig, team: WorkerGroup) -> list[BaseRef]:
    """The run's bases whose rows this worker runs."""
    return [ref for place, ref in enumerate(run.bases) if team.holds(place, len(run.bases))]


def build_learners(job: LaneJob, runs: Sequence[RunConfig], store: Store, team: WorkerGroup) -> list[Learner]:
    """Learners of these runs; one that cannot be built, by any worker of the team, is marked as failed."""
    learners: list[Learner] = []
    causes: dict[str, str] = {}
    with team.all_or_none():
        for run in runs:
            if run.source is not None and run.source not in job.sources and not store.is_done(run.source):
                continue  # its source failed: the driver says so
            try:
                learners.append(_build_with_bases(run, job, store, team))
            except ValueError as error:
                _log.exception("run %s cannot start", run.key)
                causes[run.key] = f"run {run.key} ({run.describe()}): {error}"
    for own in team.all_gather(causes):
        causes = own | causes
    if team.is_leader:
        for key, cause in causes.items():
            store.mark_failed(key, cause, store.log_path(job.lane))
    return [learner for learner in learners if learner.key not in causes]


def _build_with_bases(run: RunConfig, job: LaneJob, store: Store, team: WorkerGroup) -> Learner:
    held = held_bases(run, team)
    bases = {
        ref.name: BASES.load(ref, job.device, store, job.token)
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
            lambda ref: BASES.load(ref, job.device, store, job.token),
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
