"""From the runs of a pack to learners: their bases, rows and sources, each loaded once per process."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from portal.artifacts.artifact_files import CONFIG, WEIGHTS
from portal.bases.base import Base, outline_base
from portal.config import BaseRef, RunConfig
from portal.data.token_cache import read_cache
from portal.data.token_rows import RowTable
from portal.learners.base import Learner, Start, build_learner
from portal.learners.hypernet import artifact_subfolder
from portal.storage.paths import Folder, fetched, local_place, open_folder
from portal.training.evaluator import FrozenScores
from portal.training.worker_group import WorkerGroup
from sweeps.store.output_folder import BaseRecords
from sweeps.worker.base_cache import BaseCache
from sweeps.worker.job import LaneJob

BASES = BaseCache()
"""The bases of this process."""
FROZEN = FrozenScores()
"""What they score without an adapter, for all packs of this process."""
_log = logging.getLogger(__name__)


@cache
def load_rows(folder: str) -> RowTable:
    """The token cache, read once per process."""
    return read_cache(open_folder(folder))


def load_base(ref: BaseRef, job: LaneJob) -> Base:
    """The base on the job's device, loaded once per process; ValueError when its weights are others."""
    records = BaseRecords(job.folder)
    return BASES.load(ref, job.device, records, job.token, job.operations, num_gpus=job.num_gpus)


def held_bases(run: RunConfig, group: WorkerGroup) -> list[BaseRef]:
    """The run's bases whose rows this worker runs."""
    return [ref for place, ref in enumerate(run.bases) if group.holds(place, len(run.bases))]


def build_learners(job: LaneJob, runs: Sequence[RunConfig], group: WorkerGroup) -> list[Learner]:
    """Learners of these runs; one that cannot be built, by any worker of the group, is marked as failed."""
    store = job.run_store
    learners: list[Learner] = []
    causes: dict[str, str] = {}
    with group.all_or_none():
        for run in runs:
            if any(key not in job.sources and not store.is_done(key) for key in run.parent_keys):
                continue  # a parent failed: the driver says so
            try:
                learners.append(_build(run, job, group))
            except ValueError as error:
                _log.exception("run %s cannot start", run.key)
                causes[run.key] = f"run {run.key} ({run.describe()}): {error}"
    for own in group.all_gather(causes):
        causes = own | causes
    if group.is_leader:
        for key, cause in causes.items():
            store.mark_failed(key, cause, job.log_path())
    return [learner for learner in learners if learner.key not in causes]


def _build(run: RunConfig, job: LaneJob, group: WorkerGroup) -> Learner:
    held = held_bases(run, group)
    bases = {
        ref.name: load_base(ref, job) if ref in held else outline_base(ref.name, revision=ref.revision)
        for ref in run.bases
    }
    rows = {name: load_rows(job.rows[name]) for name in bases}
    if run.source is None:
        return build_learner(run, bases, rows)
    with ExitStack() as stack:
        parents = {
            key: stack.enter_context(fetched(_parent_artifact(run, key, job))) for key in run.parent_keys
        }
        start = Start(
            parents[run.source],
            latents=None if run.latents is None else parents[run.latents],
            base=None if run.source in job.sources else job.run_store.read_run(run.source).bases[0],
            load_base=lambda ref: load_base(ref, job),
            cache=local_place(job.folder) / "cache" / "bases",
        )
        return build_learner(run, bases, rows, start=start)


def _parent_artifact(run: RunConfig, key: str, job: LaneJob) -> Folder:
    """The verified artifact of one of the run's parents: one made elsewhere, or that of the run `key`.

    Joint training leaves one for every source base. Teaching takes that of its own base, a port any.
    """
    if key in job.sources:
        return Path(job.sources[key])
    store = job.run_store
    parent = store.read_run(key)
    place = "artifact"
    if parent.spec.artifact == "adapters":
        names = [f"{task}/adapter_model.safetensors" for task in run.data.tasks]
    else:
        names = [CONFIG, WEIGHTS]
        if parent.spec.runs_on == "sources":
            base = run.bases[0] if run.spec.teaches else parent.bases[0]
            place = f"artifact/{artifact_subfolder(base.name)}"
    store.verify(key, [f"{place}/{name}" for name in names])
    return store.run_folder(key) / place
