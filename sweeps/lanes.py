"""Lanes as Ray Tune trials: a Ray Train worker group each (`train`), or the trial's own process (`plain`)."""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sweeps.lane_log import lane_log
from sweeps.ray_session import RaySession
from sweeps.store import Store
from sweeps.worker import LaneJob, run_lane

Executor = Literal["auto", "train", "plain", "local"]
EXECUTORS = ("auto", "train", "plain", "local")
TRAIN_START_S = 20.0
"""Seconds that a Train worker group takes to start and stop on two cores; a Tune actor takes four."""
WORTH_TRAIN_S = 20 * TRAIN_START_S
"""A lane of so many seconds is the shortest for which a worker group costs a twentieth at most."""
TRIAL_CPUS = 0.01
WORKER_CPUS = 0.9
"""Below 1, so that as many workers as CPUs fit beside their trials."""
WORKER_RETRIES = 1
_log = logging.getLogger(__name__)


def choose_executor(wanted: Executor, lane_s: float | None) -> Executor:
    """`wanted`, or for `auto` what suits lanes of so many predicted seconds (None: unknown)."""
    if wanted != "auto":
        return wanted
    return "plain" if lane_s is not None and lane_s < WORTH_TRAIN_S else "train"


def run_lanes(jobs: Sequence[LaneJob], *, executor: Executor, session: RaySession, scratch: Path) -> None:
    """Run all lanes at once and wait for them. A lane that dies frees the pack it had, or gives it up."""
    from ray import tune

    storage = str(scratch.resolve())  # trials run in a folder of their own
    function = _train_lane if executor == "train" else _plain_lane
    resources = {"CPU": WORKER_CPUS, "GPU": float(session.device == "cuda")}
    bundle = {"CPU": TRIAL_CPUS} if executor == "train" else resources
    trainable = tune.with_resources(
        tune.with_parameters(function, jobs=tuple(jobs), scratch=storage, resources=resources),
        tune.PlacementGroupFactory([bundle]),
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"lane": tune.grid_search([job.lane for job in jobs])},
        tune_config=tune.TuneConfig(max_concurrent_trials=len(jobs), reuse_actors=executor == "plain"),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=storage,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_release_callback(jobs[0])],
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    store = Store(Path(jobs[0].out))
    for result in results:
        if result.error is not None and store.lane_error(result.config["lane"]) is None:
            store.write_lane_error(result.config["lane"], str(result.error).strip().splitlines()[-1])


def _train_lane(
    config: dict[str, Any], *, jobs: Sequence[LaneJob], scratch: str, resources: dict[str, float]
) -> None:
    """Tune trial: one Train worker group for the whole lane."""
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    lane = config["lane"]
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": jobs[lane]},
        scaling_config=train.ScalingConfig(
            num_workers=1, use_gpu=resources["GPU"] > 0, resources_per_worker=_nonzero(resources)
        ),
        run_config=train.RunConfig(
            name=f"lane-{lane}",
            storage_path=scratch,
            failure_config=train.FailureConfig(
                max_failures=WORKER_RETRIES, controller_failure_limit=WORKER_RETRIES
            ),
            logging_config=train.LoggingConfig(log_level="ERROR"),
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()
    tune.report({"lane": lane})


def _train_worker(config: dict[str, Any]) -> None:
    from ray import train

    job: LaneJob = config["job"]
    with _lane_process(job):
        run_lane(job, lambda packs: train.report({"packs": packs}))


def _plain_lane(
    config: dict[str, Any], *, jobs: Sequence[LaneJob], scratch: str, resources: dict[str, float]
) -> None:
    """Tune trial: the lane in the trial's own process."""
    from ray import tune

    job = jobs[config["lane"]]
    with _lane_process(job):
        run_lane(job, lambda packs: tune.report({"packs": packs}))


def _nonzero(resources: dict[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in resources.items() if amount}


@contextmanager
def _lane_process(job: LaneJob) -> Iterator[None]:
    """The driver's working folder, and a log file for records and for the traceback of what ends the lane."""
    os.chdir(job.workdir)  # Ray has moved the process to a folder of its own
    store = Store(Path(job.out))
    with lane_log(store.log_path(job.lane)):
        try:
            yield
        except BaseException as error:
            _log.exception("lane %d ends early", job.lane)
            store.write_lane_error(job.lane, f"{type(error).__name__}: {error}")
            raise


def _release_callback(job: LaneJob) -> Any:
    from ray import tune

    class ReleaseLostPacks(tune.Callback):
        """Frees the pack of a lane that died: another lane may try it once, then it is given up."""

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            release_lane(job, trial.config["lane"])

    return ReleaseLostPacks()


def release_lane(job: LaneJob, lane: int) -> None:
    """Free what the dead `lane` had claimed; a pack lost for the second time is marked as failed."""
    store = Store(Path(job.out))
    packs = {pack.key: pack for pack in job.packs}
    for key in store.claimed_by(job.token, lane):
        if key not in packs:  # finished in an earlier round
            continue
        left = [run for run in packs[key].runs if not store.is_finished(run)]
        if left and not store.free_claim(job.token, key):
            error = store.lane_error(lane)
            cause = "its worker died twice" + (f", the last time of {error}" if error else "")
            for run in left:
                store.mark_failed(run, cause, store.log_path(lane), lost=True)
