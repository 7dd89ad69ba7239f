"""Runs in this process, without Ray and without a study: what `portal train` and `portal port` do."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from portal.config import Activations, RunConfig
from portal.data.suite import Suite
from portal.messages import counted
from sweeps.launch.executors import refusing_here
from sweeps.launch.interrupts import termination_interrupts
from sweeps.launch.progress import ProgressLine
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.checks import check_metrics
from sweeps.store.lease import acquire
from sweeps.store.output_folder import check_writable
from sweeps.store.run_store import PackStore, RunStore, pack_key
from sweeps.store.session import clear_session_files
from sweeps.study.expand import stage_of
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.lane import run_lane
from sweeps.worker.lane_log import lane_log


def run_local(
    runs: Sequence[RunConfig],
    suite: Suite,
    out: Path,
    console: Console,
    *,
    sources: Mapping[str, Path] | None = None,
    names: Mapping[int, str] | None = None,
    device: str = "cpu",
    gpus: int = 1,
    threads: int = 1,
    activations: Activations = "keep",
) -> None:
    """Finish `runs`, which share their bases and their data of `suite`, in `out/runs/<key>`.

    What was interrupted continues. `sources` are artifacts made elsewhere, by the digest that a port's config
    names, `names` those of stages that are called otherwise than in a study. On a GPU each base is divided
    over so many `gpus`. ValueError with the cause when a run fails.
    """
    check_writable(out)
    store = RunStore(out)
    left = [run for run in runs if not store.is_done(run.key)]
    if not left:
        return
    check_metrics(left, refusing_here)
    data = left[0].data
    started = time.monotonic()
    with acquire(out) as lease, termination_interrupts():
        clear_session_files(out)
        rows = prepare_rows(
            suite,
            data.tasks,
            [ref.name for ref in left[0].bases],
            out,
            max_prompt=data.max_prompt,
            data_hash=data.data_hash,
        )
        for run in left:
            store.write_run(run)
            if (store.failure(run.key) or {}).get("asked"):  # the same command lets it go on
                store.forget_failed([run.key])
        keys = tuple(run.key for run in left)
        PackStore(out).record_pack(pack_key(keys), keys)
        needs = tuple(key for run in left for key in run.parent_keys)
        job = LaneJob(
            out=str(out),
            token=lease.token,
            lane=0,
            packs=(PackJob(pack_key(keys), stage_of(left[0]), keys, needs, tuple(rows)),),
            rows={base: str(folder) for base, folder in rows.items()},
            sources={digest: str(folder) for digest, folder in (sources or {}).items()},
            device=device,
            gpus_per_worker=gpus,
            threads=threads,
            activations=activations,
        )
        progress = ProgressLine(left, dict.fromkeys(keys, 1.0), store, console, names=names)
        with progress, lane_log(job.log_path()):
            run_lane(job, lambda packs: None)
    for run in left:
        failure = store.failure(run.key)
        if failure is not None:
            raise ValueError(failure["cause"])
    console.print(f"{counted(len(left), 'run')} in {time.monotonic() - started:.0f} s")
