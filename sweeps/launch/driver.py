"""Launching a study: lanes as Ray Tune trials, each with a Ray Train worker group that takes many packs.

Ray places processes; our run folders are the truth. Nothing is restored from Ray's own state: it lives in a
scratch folder that is deleted, and a launch again plans again and skips what is done.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from portal.config import nearest
from portal.data.token_cache import count_truncated
from portal.storage.paths import Folder, local_place
from sweeps.launch.interrupts import termination_interrupts
from sweeps.launch.lane_layout import EXECUTORS, Executor, LaneLayout, choose_executor, lay_out
from sweeps.launch.launch_result import LaunchResult, launch_result
from sweeps.launch.progress import ProgressLine
from sweeps.launch.ray_lanes import run_lanes
from sweeps.launch.ray_session import RaySession, ray_session
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.devices import Device, find_device
from sweeps.planning.plan import Plan, PlannedPack, check_tokenizers, plan_study
from sweeps.store.lease import acquire, read_holder
from sweeps.store.run_store import Store
from sweeps.study.expand import Study
from sweeps.study.manifest import note_launch, record_manifest
from sweeps.tracking.supervisor import BROKEN_OFF_S, TrackerSupervisor
from sweeps.worker.job import LaneJob, PackJob
from sweeps.worker.lane import run_lane
from sweeps.worker.lane_log import lane_log

MAX_IDLE_ROUNDS = 3
"""Launches of lanes, one after another, that save nothing new: workers may die, but not without end."""


def run_study(
    study: Study,
    out: Folder,
    *,
    executor: Executor = "auto",
    console: Console,
    threads: int = 1,
    wait: bool = False,
    trackers: Sequence[str] = (),
) -> LaunchResult:
    """Finish what is missing of the study in `out` and say how it ended.

    ValueError while another driver works on `out`, unless told to `wait`. KeyboardInterrupt surfaces after
    Ray has been stopped; nothing finished is lost, and a launch again continues. With RAY_ADDRESS set it runs
    on that cluster. `threads` are those of the executor `local`; a lane on Ray has one.
    """
    started = time.monotonic()
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}{nearest(executor, EXECUTORS)}")
    if executor == "local" and study.settings.workers_per_pack != 1:
        raise ValueError(
            "executor 'local' is a single worker; workers_per_pack needs Ray's (auto, train or plain)"
        )
    plan = plan_study(study, out)
    check_tokenizers(plan)
    store = Store(out)
    feed = TrackerSupervisor(out, study.name, trackers, console)
    cause = "its worker ended before it did"
    tried = _can_be_tried(plan)
    if tried:
        with acquire(out, waiting=console.print if wait else None) as lease, termination_interrupts():
            if wait:
                tried = _can_be_tried(plan_study(study, out))
            store.clear_session_files()
            store.forget_lost(study.by_key)
            record_manifest(out, study.manifest)
            note_launch(out, study.manifest)
            feed.start(lease.token)
            patience_s = None
            try:
                if executor == "local":
                    _run_here(study, store, lease.token, console, threads, feed)
                else:
                    with ray_session(out, console) as whole:
                        session = whole.shared(study.settings.gpus_per_worker)
                        errors = _run_rounds(study, store, lease.token, executor, session, console, feed)
                        cause = "; ".join([cause, *errors])
            except BaseException:
                patience_s = BROKEN_OFF_S
                raise
            finally:
                if read_holder(out).get("token") == lease.token:  # else they are another driver's
                    store.clear_session_files()
                    feed.close(patience_s)
    elif trackers:
        with acquire(out, waiting=console.print if wait else None) as lease:
            record_manifest(out, study.manifest)
            feed.start(lease.token)
            feed.close()
    return launch_result(
        study,
        store,
        tried=tried,
        cause=f"{cause}; launch the study again",
        log=local_place(out) / "logs",
        wall_s=time.monotonic() - started,
    )


def _can_be_tried(plan: Plan) -> list[str]:
    """Keys of the runs that are left, but for those whose source has failed."""
    return [run.key for run in plan.missing if run.source not in plan.failed]


def _run_rounds(
    study: Study,
    store: Store,
    token: str,
    executor: Executor,
    session: RaySession,
    console: Console,
    feed: TrackerSupervisor,
) -> list[str]:
    """Lanes until nothing is left that can be done, a round more when workers were lost.

    Returns what ended lanes of the last round early.
    """
    rows = _prepare(study, store, console)
    errors: list[str] = []
    plan, layout = _plan_lanes(study, store, session.nodes, session.hardware)
    executor = choose_executor(executor, plan.lane_seconds(layout.count))
    with _progress(plan, store, console):
        idle = 0
        while idle < MAX_IDLE_ROUNDS and any(_can_run(pack, store) for pack in plan.packs):
            before = [store.pack_progress(pack.key) for pack in plan.packs]
            run_lanes(
                _lane_jobs(plan, store, token, layout, rows, session.device),
                executor=executor,
                session=session,
                scratch=store.out / "scratch" / token,
                feed=feed,
            )
            store.forget_teams(token)
            errors = [error for lane in range(layout.count) if (error := store.lane_error(lane))]
            idle = idle + 1 if [store.pack_progress(pack.key) for pack in plan.packs] == before else 0
            plan, layout = _plan_lanes(study, store, session.nodes, session.hardware)
    return list(dict.fromkeys(errors))


def _plan_lanes(
    study: Study, store: Store, nodes: Sequence[int], hardware: Device | None
) -> tuple[Plan, LaneLayout]:
    """What is left, in packs that fit beside as many lanes as there are slots, packs and memory for.

    `nodes` have so many slots each. The packs are recorded: a launch again meets the same ones.
    """
    workers, slots = study.settings.workers_per_pack, sum(nodes)
    plan = plan_study(study, store.out, device=hardware, lanes=slots)
    layout = lay_out([len(pack.bases) for pack in plan.packs], nodes, workers)
    if hardware is not None:
        fitting = layout.num_workers
        while fitting > 1 and plan.largest_run_bytes > hardware.shared_by(fitting).budget_bytes:
            if hardware.is_gpu:  # it is not shared: fewer workers would not help
                break
            fitting -= 1
        plan = plan.on(hardware.shared_by(fitting), slots)
        room = nodes if hardware.is_gpu else (min(fitting, slots),)  # of a CPU only this machine's is known
        layout = lay_out([len(pack.bases) for pack in plan.packs], room, workers)
    for pack in plan.packs:
        store.record_pack(pack.key, pack.members)
    return plan, layout


def _run_here(
    study: Study, store: Store, token: str, console: Console, threads: int, feed: TrackerSupervisor
) -> None:
    """One lane in this process, on the CPU and without Ray."""
    rows = _prepare(study, store, console)
    plan, _ = _plan_lanes(study, store, (1,), find_device("cpu"))
    with _progress(plan, store, console):
        (job,) = _lane_jobs(plan, store, token, LaneLayout(0, 1, 1, 0), rows, "cpu")
        with lane_log(store.log_path(job.lane)):
            run_lane(replace(job, threads=threads), lambda finished: feed.poll())


def _progress(plan: Plan, store: Store, console: Console) -> ProgressLine:
    return ProgressLine(plan.study.runs, plan.costs, store, console, finished=(*plan.done, *plan.failed))


def _prepare(study: Study, store: Store, console: Console) -> dict[str, Folder]:
    started = time.monotonic()
    rows = prepare_rows(
        study.suite,
        study.tasks,
        study.bases,
        store.out,
        max_prompt=study.settings.max_prompt,
        data_hash=study.runs[0].data.data_hash,
    )
    spent = time.monotonic() - started
    console.print(f"prepare: rows of {len(study.tasks)} tasks for {len(rows)} bases in {spent:.1f} s")
    for base, folder in rows.items():
        if cut := count_truncated(folder):
            console.print(f"prepare: {cut} prompts for {base} are cut to {study.settings.max_prompt} tokens")
    return rows


def _lane_jobs(
    plan: Plan, store: Store, token: str, layout: LaneLayout, rows: dict[str, Folder], device: str
) -> list[LaneJob]:
    """One a lane; what they say of a pack is one object for all."""
    packs = {pack.key: _pack_job(plan, pack) for pack in plan.packs}
    return [
        LaneJob(
            out=str(store.out.resolve()),
            token=token,
            lane=lane,
            packs=tuple(packs[pack.key] for pack in order if layout.takes(lane, len(pack.bases))),
            rows={base: str(folder.resolve()) for base, folder in rows.items()},
            device=device,
            activations=plan.study.settings.activations,
            workers=layout.workers(lane),
            teams=tuple(range(layout.teams)) if lane >= layout.teams else (),
            start=layout.start(lane),
        )
        for lane, order in enumerate(plan.lanes(layout.count))
    ]


def _pack_job(plan: Plan, pack: PlannedPack) -> PackJob:
    keys = tuple(run.key for run in pack.runs)
    return PackJob(pack.key, pack.stage, keys, pack.needs, pack.bases, plan.forward_tokens(pack))


def _can_run(pack: PlannedPack, store: Store) -> bool:
    """Whether a run of the pack is neither finished nor waits for a source that failed."""
    return any(
        not store.is_finished(run.key) and (run.source is None or store.failure(run.source) is None)
        for run in pack.runs
    )
