"""Lanes as Ray Tune trials: a Ray Train worker group each (`train`), or the trial's own process (`plain`)."""

import itertools
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import train, tune
from ray.train import ControllerError
from ray.train.torch import TorchTrainer, get_devices
from ray.tune.integration.ray_train import TuneReportCallback

from portal.device import take_gpus
from portal.storage.atomic import remove_folder
from portal.training.worker_group import WorkerGroup
from sweeps.launch.executors import LaneRound
from sweeps.launch.lane_layout import WORKER_CPUS
from sweeps.store.lease import read_holder
from sweeps.worker.job import LaneJob
from sweeps.worker.lane import POLL_S, lane_log, run_lane

TRIAL_CPUS = 0.01
WORKER_RETRIES = 1
ROOM_S = 3600.0
"""How long a lane waits for a GPU, or CPUs, that others hold or that a lost node had."""
_TRAIN_WAITS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""The variable for how long Ray Train waits for it each time, by default a minute."""
_log = logging.getLogger(__name__)


def run_lanes(lanes: LaneRound, *, with_train: bool) -> None:
    """Run all lanes and wait for them. One that dies frees its pack, or gives it up.

    A lane of several workers always has a Train worker group, and then the others have one too.
    """
    jobs, scratch = lanes.jobs, lanes.scratch
    storage = str(scratch.resolve())  # trials run in a folder of their own
    resources = {"CPU": WORKER_CPUS, "GPU": lanes.resources.gpus_per_worker}
    has_teams = any(job.workers > 1 for job in jobs)
    grouped = {job.lane for job in jobs if with_train or has_teams}

    def bundle(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": TRIAL_CPUS} if config["lane"] in grouped else resources])

    trainable = tune.with_resources(
        tune.with_parameters(
            _run_lane, jobs=tuple(jobs), grouped=grouped, scratch=storage, resources=resources
        ),
        bundle,
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"lane": tune.grid_search([job.lane for job in jobs])},
        tune_config=tune.TuneConfig(max_concurrent_trials=len(jobs), reuse_actors=not grouped),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=storage,
            verbose=0,
            # A worker group has retries of its own.
            failure_config=tune.FailureConfig(max_failures=0 if grouped else WORKER_RETRIES),
            callbacks=[ReleaseLostPacks(jobs)],
        ),
    )
    try:
        results = tuner.fit()
    finally:
        remove_folder(scratch)
    session = jobs[0].session
    for result in results:
        if result.error is not None and session.lane_error(result.config["lane"]) is None:
            session.write_lane_error(result.config["lane"], str(result.error).strip().splitlines()[-1])


def _run_lane(
    config: dict[str, Any],
    *,
    jobs: Sequence[LaneJob],
    grouped: set[int],
    scratch: str,
    resources: dict[str, float],
) -> None:
    """Tune trial: a lane by a Train worker group, or in the trial's own process."""
    job = jobs[config["lane"]]
    teams = [each.lane for each in jobs if each.workers > 1]
    while job.start != "now" and not job.session.teams_have(teams, job.start):
        time.sleep(POLL_S)
    if job.lane in grouped:
        _train_lane(job, scratch=scratch, resources=resources)
    else:
        with _lane_process(job):
            run_lane(job, lambda packs: tune.report({"packs": packs}))


def _train_lane(job: LaneJob, *, scratch: str, resources: dict[str, float]) -> None:
    """One Train worker group for the whole lane, on one node.

    A lane of one worker for which there is no room gives back what it had taken, and waits for room while
    there is something left to take. A team's lane ends, for which others may wait.
    """
    waits_s = (1 + WORKER_RETRIES) * float(os.environ.get(_TRAIN_WAITS, "60"))
    give_up = time.monotonic() + ROOM_S
    for attempt in itertools.count():
        began = time.monotonic()
        try:
            _trainer(job, attempt, scratch=scratch, resources=resources).fit()
            break
        except ControllerError as error:
            now = time.monotonic()
            if now - began > 2 * waits_s:  # meanwhile it has worked
                give_up = now + ROOM_S
            # The class of Train's error after it has waited for resources in vain is no public name.
            has_room = type(error.controller_failure).__name__ != "WorkerGroupStartupTimeoutError"
            if job.workers > 1 or has_room or now > give_up:
                raise
            release_lane(job)
            if not _has_work(job):
                break
    tune.report({"lane": job.lane})


def _has_work(job: LaneJob) -> bool:
    """Whether there is a pack that has not ended and that no lane has taken."""
    taken, store = job.session.claimed(), job.run_store
    return any(pack.key not in taken and not all(map(store.is_finished, pack.runs)) for pack in job.packs)


def _trainer(job: LaneJob, attempt: int, *, scratch: str, resources: dict[str, float]) -> TorchTrainer:
    return TorchTrainer(
        _train_worker,
        train_loop_config={"job": job},
        scaling_config=train.ScalingConfig(
            num_workers=job.workers,
            use_gpu=resources["GPU"] > 0,
            resources_per_worker={name: amount for name, amount in resources.items() if amount},
            placement_strategy="STRICT_PACK",
        ),
        run_config=train.RunConfig(
            name=f"lane-{job.lane}-{attempt}",
            storage_path=scratch,
            failure_config=train.FailureConfig(
                max_failures=WORKER_RETRIES, controller_failure_limit=WORKER_RETRIES
            ),
            logging_config=train.LoggingConfig(log_level="ERROR"),
            callbacks=[TuneReportCallback()],
        ),
    )


def _train_worker(config: dict[str, Any]) -> None:
    job: LaneJob = config["job"]
    context = train.get_context()
    group = WorkerGroup(context.get_world_rank(), context.get_world_size())
    if job.num_gpus > 1:  # of those that the workers of a team all see
        take_gpus([device.index for device in get_devices()])
    with _lane_process(job, rank=group.rank):
        run_lane(job, lambda packs: train.report({"packs": packs}), group=group)


@contextmanager
def _lane_process(job: LaneJob, *, rank: int = 0) -> Iterator[None]:
    """Work in the driver's folder, with a log file for records and for the error that ends the lane."""
    with lane_log(job.log_path(rank)):
        try:
            if Path(job.workdir).is_dir():  # where relative paths start: Ray has moved the process elsewhere
                os.chdir(job.workdir)
            yield
        except BaseException as error:
            _log.exception("lane %d ends early", job.lane)
            # the others of a team only miss the one that failed
            if rank == 0 or job.session.lane_error(job.lane) is None:
                job.session.write_lane_error(job.lane, f"{type(error).__name__}: {error}")
            raise


class ReleaseLostPacks(tune.Callback):
    """Frees the pack of a lane that died: it, or another lane, may try it once, then it is given up."""

    def __init__(self, jobs: Sequence[LaneJob]) -> None:
        self._jobs = jobs

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        release_lane(self._jobs[trial.config["lane"]])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        job = self._jobs[trial.config["lane"]]
        release_lane(job)
        self._note_end(job)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._note_end(self._jobs[trial.config["lane"]])

    def _note_end(self, job: LaneJob) -> None:
        if job.workers > 1:
            job.session.note_team(job.lane, "teams ended")


def release_lane(job: LaneJob) -> None:
    """Free what the dead lane had claimed; a pack lost for the second time is marked as failed."""
    if read_holder(job.folder).get("token") != job.token:
        return  # another driver has taken over
    store, session, packs = job.run_store, job.session, {pack.key: pack for pack in job.packs}
    for key in session.claimed_by(job.lane):
        if key not in packs:  # finished in an earlier round
            continue
        left = [run for run in packs[key].runs if not store.is_finished(run)]
        if left and not session.free_claim(key, _saved(job, key)):
            error = session.lane_error(job.lane)
            cause = "its worker died twice" + (f", the last time of {error}" if error else "")
            for run in left:
                store.mark_failed(run, cause, job.log_path(), lost=True)


def _saved(job: LaneJob, pack: str) -> str:
    """A text that differs after progress: the pack's number of finished runs, its newest checkpoint, and how
    many pieces of answers it has.
    """
    store, members = job.pack_store, job.pack_store.recorded_pack(pack) or ()
    finished = sum(map(job.run_store.is_finished, members))
    return f"{finished} {store.newest_checkpoint(pack)} {store.num_answer_pieces(pack)}"
