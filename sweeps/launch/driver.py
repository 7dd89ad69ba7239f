"""`run_study`: a launch of a study, from the checks through rounds of lanes to the result.

Executors place processes; our run folders are the truth. Nothing is restored from Ray's own state: it lives
in a scratch folder that is deleted, and a launch again plans again and skips what is done.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console

from portal.config import BaseRef, RunConfig
from portal.data.token_cache import count_truncated
from portal.storage.paths import Folder, local_place
from sweeps.launch.executors import (
    Executor,
    ExecutorName,
    LaneRound,
    Resources,
    Wanted,
    find_executor,
    refusing_here,
)
from sweeps.launch.lane_layout import LaneLayout, plan_lanes
from sweeps.launch.terminal import ProgressLine, termination_interrupts
from sweeps.launch.tokenize import prepare_rows
from sweeps.planning.checks import (
    CheckedStudy,
    check_cpus,
    check_libraries,
    check_metrics,
    check_precisions,
    check_sizes,
    check_study,
    check_tokenizers,
    expected_device,
    large_bases,
)
from sweeps.planning.devices import check_advice
from sweeps.planning.plan import Plan, PlannedPack, Planner
from sweeps.sinks.alerts import AlertDesk, Alerts, AlertWatch
from sweeps.sinks.events import StudyEvents
from sweeps.sinks.tracking import BROKEN_OFF_S, TrackerSupervisor
from sweeps.store.lease import InUse, acquire, read_holder
from sweeps.store.output_folder import UsedDevice, check_device_kind, check_writable, keep_precisions
from sweeps.store.run_store import PackStore, RunStore
from sweeps.store.session import Session, clear_session_files
from sweeps.store.study_status import RunRequests, StudyStatus
from sweeps.study.expand import Study
from sweeps.study.manifest import note_launch, record_manifest
from sweeps.worker.job import LaneJob, PackJob


@dataclass(frozen=True)
class Failure:
    """A run without a result: what it was, why, and where to read more."""

    run: str
    name: str
    cause: str
    log: str


@dataclass(frozen=True)
class LaunchResult:
    """Counts of a study's runs after a launch, and each run that has no result.

    `tried` counts the runs that this launch set out to train; of those it finished `trained`, `failed` ended
    in a failure of their own, and `left_out` were paused or stopped.
    """

    total: int
    done: int
    tried: int
    trained: int
    failed: int
    left_out: int
    failures: tuple[Failure, ...]
    wall_s: float

    @property
    def is_done(self) -> bool:
        """Whether every run of the study has its result."""
        return not self.failures

    @property
    def summary(self) -> str:
        """What this launch did, for people: `3 trained now, 1 failed now`."""
        if not self.tried:
            return "nothing was left to train"
        failed = f", {self.failed} failed now" if self.failed else ""
        left_out = f", {self.left_out} left out as asked" if self.left_out else ""
        return f"{self.trained or 'none'} trained now{failed}{left_out}"


def run_study(
    study: Study,
    out: Folder,
    *,
    executor: ExecutorName = "auto",
    console: Console | None = None,
    threads: int = 1,
    gpus: int = 0,
    wait: bool = False,
    trackers: Sequence[str] = (),
    alerts: Alerts | AlertDesk | None = None,
) -> LaunchResult:
    """Finish what is missing of the study in `out` and say how it ended; without a console, in silence.

    ValueError while another driver works on `out`, unless told to `wait`. KeyboardInterrupt surfaces after
    Ray has been stopped; nothing finished is lost, and a launch again continues. With RAY_ADDRESS set it runs
    on that cluster, as soon as that has so many `gpus`. `threads` are torch's in each lane. ValueError where
    `out` was computed on another kind of device, or a base is too large for a CPU, unless the device was
    named. `alerts` tell people who do not look of failures, lost workers and the end; an open desk, of a
    search of which this is a part, is told of all but the end.
    """
    started = time.monotonic()
    chosen, console, store = find_executor(executor), console or Console(quiet=True), RunStore(out)
    wanted = Wanted.of(study.settings.device, gpus)
    chosen.check(study.settings)
    check_writable(out)
    checked, status = check_study(study), StudyStatus.read(store, study.runs)
    finished = {*status.done, *status.failed_for_good}
    left = tuple(run for run in study.runs if run.key not in finished)
    _check_here(left, chosen, wanted)
    if _carry_out_requests(study, store):
        status = status.refreshed(store, study.runs)
    supervisor = TrackerSupervisor(out, study.name, trackers, console)
    tried, errors = status.trainable(study.runs), list[str]()
    if tried or trackers:
        with acquire(out, waiting=console.print if wait else None) as lease, termination_interrupts():
            if wait:  # another driver has worked here meanwhile
                status = status.refreshed(store, study.runs)
                tried = status.trainable(study.runs)
            keep_precisions(out, study.auto_precisions)
            record_manifest(out, study.manifest)
            with _session(out, lease.token, supervisor):
                if tried:
                    note_launch(out, study.manifest)
                    store.forget_failed(key for key, failure in status.failed.items() if failure.lost)
                    with (
                        _watched(study, lease.token, store, alerts or Alerts(), console),
                        chosen.open(out, console, wanted) as found,
                    ):
                        launch = Launch(
                            checked=checked,
                            left=left,
                            out=out,
                            token=lease.token,
                            executor=chosen,
                            wanted=wanted,
                            found=found,
                            console=console,
                            threads=threads,
                        )
                        launch.check()
                        errors = launch.run(status.refreshed(store, study.runs))
                        launch.carry_out_requests()  # what came at last is for another launch
                        tried = tuple(dict.fromkeys((*tried, *launch.retried)))
        status = status.refreshed(store, study.runs)
    return launch_result(
        study,
        status,
        tried=tried,
        cause="; ".join(["its worker ended before it did", *errors, "launch the study again"]),
        log=local_place(out) / "logs",
        wall_s=time.monotonic() - started,
    )


def _check_here(left: Sequence[RunConfig], executor: Executor, wanted: Wanted) -> None:
    """ValueError for runs of which this machine can say that they could not be trained."""
    bases = _bases_of(left)
    check_libraries(left)
    if executor.is_here():
        check_metrics(left, refusing_here)
    check_precisions(bases, expected_device(wanted.device))
    check_tokenizers(dict.fromkeys(ref.name for ref in bases))


def _bases_of(runs: Sequence[RunConfig]) -> tuple[BaseRef, ...]:
    return tuple(dict.fromkeys(ref for run in runs for ref in run.bases))


def _carry_out_requests(study: Study, store: RunStore) -> bool:
    """Do what was asked of the study's runs since the last launch; whether there was anything."""
    requests = RunRequests(store.out)
    is_asked = bool(study.by_key.keys() & requests.asked().keys())
    if is_asked:
        with suppress(InUse), acquire(store.out):  # whoever works there hears them
            requests.carry_out(study.by_key, local_place(store.out) / "logs")
    return is_asked


@contextmanager
def _session(out: Folder, token: str, supervisor: TrackerSupervisor) -> Iterator[None]:
    """Hold the files and processes that a driver has for itself, under the lease of that token."""
    clear_session_files(out)
    supervisor.start(token)
    patience_s: float | None = BROKEN_OFF_S
    try:
        yield
        patience_s = None
    finally:
        if read_holder(out).get("token") == token:  # else they are another driver's
            clear_session_files(out)
            supervisor.close(patience_s)


@contextmanager
def _watched(
    study: Study, token: str, store: RunStore, alerts: Alerts | AlertDesk, console: Console
) -> Iterator[None]:
    """Tell, during the block, what happens in the folder; a desk of the launch itself tells its end, too."""
    events = StudyEvents(store, study.runs, Session(store.out, token))
    if isinstance(alerts, AlertDesk):
        with AlertWatch(events, alerts, token):
            yield
        return
    with AlertDesk(alerts, study.name, store.out, token, console) as desk:
        watch = AlertWatch(events, desk, token)
        desk.outcome = watch.counts
        with watch:
            yield


MAX_IDLE_ROUNDS = 3
"""Most rounds of lanes in a row that save nothing new: workers may die, but not without end."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A driver's work on a checked study, under the lease of its token."""

    checked: CheckedStudy
    left: tuple[RunConfig, ...]
    out: Folder
    token: str  # of the driver's lease
    executor: Executor
    wanted: Wanted
    found: Resources
    console: Console
    threads: int = 1
    retried: list[str] = field(default_factory=list, init=False)
    """Runs that people had tried again meanwhile."""

    @property
    def study(self) -> Study:
        return self.checked.study

    @property
    def resources(self) -> Resources:
        """What was found, as workers share it."""
        return self.found.shared(self.study.settings.gpus_per_worker)

    def check(self) -> None:
        """Say what the launch runs on; ValueError for runs that are not for it."""
        device, bases = self.found.device, _bases_of(self.left)
        if self.wanted.device == "auto":  # going on with one that nobody named may be an accident
            before = UsedDevice.kept(self.out)
            check_device_kind(None if before is None else before.device, device, self.out)
            if before is None or not before.named_for_large_bases:
                check_sizes(bases, device, advice=_ON_CPUS)
        check_precisions(bases, device)
        self.console.print(f"device: {self.resources}")
        model = None if self.found.hardware is None else self.found.hardware.name
        if device == "cuda" and (advice := check_advice(model)):
            self.console.print(f"device: {advice}")
        for note in self.checked.notes:
            self.console.print(note)
        refusing = partial(self.executor.nodes_refusing, device=device)
        if device == "cpu":
            check_cpus(bases, refusing)
        if not self.executor.is_here():
            check_metrics(self.left, refusing)

    def run(self, status: StudyStatus) -> list[str]:
        """Run lanes until nothing is left that can be done, a round more when workers were lost.

        `status` is the study's status now. Returns the errors that ended lanes of the last round early.
        """
        store, packs, session = RunStore(self.out), PackStore(self.out), Session(self.out, self.token)
        recorded, resources, runs = packs.recorded_packs(), self.resources, self.study.runs
        planner = Planner(self.checked, recorded)  # what it predicts is kept for further rounds

        def saved(status: StudyStatus) -> tuple[object, ...]:
            return status.done, tuple(status.failed), packs.newest_checkpoints()

        rows = self._prepare_rows()
        plan, layout = plan_lanes(planner, status, resources.hardware, resources.nodes)
        lane_s, errors, idle = plan.lane_seconds(layout.count), list[str](), 0
        named = self.wanted.device != "auto" and any(large_bases(_bases_of(self.left)))
        UsedDevice(device=resources.device, named_for_large_bases=named).keep(self.out)
        finished = (*status.done, *status.failed_for_good)
        with ProgressLine(runs, self.checked.costs, store, self.console, finished=finished):
            while idle < MAX_IDLE_ROUNDS and plan.status.trainable(runs, lost_too=False):
                before = saved(plan.status)
                for pack in plan.packs:
                    if pack.key not in recorded:  # a launch again meets the same ones
                        packs.record_pack(pack.key, pack.members)
                        recorded[pack.key] = pack.members
                jobs, scratch = self._lane_jobs(plan, layout, rows), self.out / "scratch" / self.token
                self.executor.run(LaneRound(jobs, resources, scratch, lane_s))
                session.end_round()
                errors = [error for lane in range(layout.count) if (error := session.lane_error(lane))]
                self.retried.extend(self.carry_out_requests())
                status = plan.status.refreshed(store, runs)
                idle = idle + 1 if saved(status) == before else 0
                plan, layout = plan_lanes(planner, status, resources.hardware, resources.nodes)
        return list(dict.fromkeys(errors))

    def _prepare_rows(self) -> dict[str, Folder]:
        """The token caches by base; says how long they took, and how many prompts were cut."""
        started, study = time.monotonic(), self.study
        rows = prepare_rows(study.suite, study.data, study.bases, self.out, encode=self.executor.encode)
        spent = time.monotonic() - started
        self.console.print(
            f"prepare: rows of {len(study.tasks)} tasks for {len(rows)} bases in {spent:.1f} s"
        )
        for base, folder in rows.items():
            if cut := count_truncated(folder):
                limit = study.settings.max_prompt
                self.console.print(f"prepare: {cut} prompts for {base} are cut to {limit} tokens")
        return rows

    def _lane_jobs(self, plan: Plan, layout: LaneLayout, rows: dict[str, Folder]) -> list[LaneJob]:
        """One job per lane; all jobs share one object per pack."""
        packs = {pack.key: _pack_job(plan, pack) for pack in plan.packs}
        return [
            LaneJob(
                out=str(self.out.resolve()),
                token=self.token,
                lane=lane,
                packs=tuple(packs[pack.key] for pack in order if layout.takes(lane, len(pack.bases))),
                rows={base: str(folder.resolve()) for base, folder in rows.items()},
                device=self.resources.device,
                gpus_per_worker=self.resources.gpus_per_worker or 1.0,
                threads=self.threads,
                activations=self.study.settings.activations,
                workers=layout.workers(lane),
                teams=tuple(range(layout.teams)) if lane >= layout.teams else (),
                start=layout.start(lane),
            )
            for lane, order in enumerate(plan.lanes(layout.count))
        ]

    def carry_out_requests(self) -> list[str]:
        """Do what people ask of the study's runs, while no lane works; those that are to be tried again."""
        return RunRequests(self.out).carry_out(self.study.by_key, local_place(self.out) / "logs")


def _pack_job(plan: Plan, pack: PlannedPack) -> PackJob:
    keys = tuple(run.key for run in pack.runs)
    return PackJob(pack.key, pack.stage, keys, pack.needs, pack.bases, plan.forward_tokens(pack))


_ON_CPUS = (
    "this launch is on CPUs; `portal sweep run` with --gpus N waits for GPUs, and with --device cpu (or "
    "`device: cpu` in the study) it trains on CPUs all the same"
)


def launch_result(
    study: Study, status: StudyStatus, *, tried: Collection[str], cause: str, log: Path, wall_s: float
) -> LaunchResult:
    """The launch's result by the status after it, where `tried` are the keys of the runs it set out to train.

    `cause` and `log` explain runs that left no marker of their own.
    """
    done = set(status.done)
    failures = []
    for run in study.runs:
        if run.key not in done:
            known = status.why_absent(run)
            why, where = (cause, str(log)) if known is None else (known.cause, known.log)
            failures.append(Failure(run.key, run.describe(), why, where))
    return LaunchResult(
        total=len(study.runs),
        done=len(done),
        tried=len(tried),
        trained=sum(key in done for key in tried),
        failed=sum(key in status.failed and key not in status.left_out for key in tried),
        left_out=sum(key in status.left_out for key in tried),
        failures=tuple(failures),
        wall_s=wall_s,
    )
