"""`run_study`: a launch of a study, from the checks to the result.

Executors place processes; our run folders are the truth. Nothing is restored from Ray's own state: it lives
in a scratch folder that is deleted, and a launch again plans again and skips what is done.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from rich.console import Console

from portal.config import BaseRef, DeviceKind, RunConfig
from portal.results import RESULTS, RESULTS_FILE, read_table
from portal.storage.paths import Folder, local_place
from sweeps.launch.executors import ExecutorName, find_executor, refusing_here
from sweeps.launch.interrupts import termination_interrupts
from sweeps.launch.launch import Launch
from sweeps.launch.launch_result import LaunchResult, launch_result
from sweeps.launch.resources import Resources, Wanted
from sweeps.planning.checks import (
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
from sweeps.sinks.alerts import AlertDesk, Alerts, AlertWatch
from sweeps.sinks.events import StudyEvents
from sweeps.sinks.tracking import BROKEN_OFF_S, TrackerSupervisor
from sweeps.store.lease import InUse, acquire, read_holder
from sweeps.store.output_folder import (
    KeptDevice,
    KeptPrecisions,
    UsedDevice,
    check_device_kind,
    check_writable,
)
from sweeps.store.run_store import RunStore
from sweeps.store.session import Session, clear_session_files
from sweeps.store.study_status import RunRequests, StudyStatus
from sweeps.study.expand import Study
from sweeps.study.manifest import note_launch, record_manifest

_ON_CPUS = (
    "this launch is on CPUs; `portal sweep run` with --gpus N waits for GPUs, and with --device cpu (or "
    "`device: cpu` in the study) it trains on CPUs all the same"
)


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
    runs_left = _runs_left(study, status)
    left = tuple(dict.fromkeys(ref for run in runs_left for ref in run.bases))
    check_libraries(runs_left)
    if chosen.is_here():
        check_metrics(runs_left, refusing_here)
    check_precisions(left, expected_device(wanted.device))
    check_tokenizers(dict.fromkeys(ref.name for ref in left))
    if _carry_out_requests(study, store):
        status = status.refreshed(store, study.runs)
    supervisor = TrackerSupervisor(out, study.name, trackers, console)
    tried, errors = status.trainable(study.runs), list[str]()
    if tried or trackers:
        with acquire(out, waiting=console.print if wait else None) as lease, termination_interrupts():
            if wait:  # another driver has worked here meanwhile
                status = status.refreshed(store, study.runs)
                tried = status.trainable(study.runs)
            KeptPrecisions(out).keep(study.auto_precisions)
            record_manifest(out, study.manifest)
            with _session(out, lease.token, supervisor):
                if tried:
                    note_launch(out, study.manifest)
                    store.forget_failed(key for key, failure in status.failed.items() if failure.lost)
                    with (
                        _watched(study, lease.token, store, alerts or Alerts(), console),
                        chosen.open(out, console, wanted) as found,
                    ):
                        if wanted.device == "auto":
                            _check_unnamed(found.device, left, out, _device_of(store, status.done))
                        check_precisions(left, found.device)
                        console.print(f"device: {found.shared(study.settings.gpus_per_worker)}")
                        _print_check(found, console)
                        for note in checked.notes:
                            console.print(note)
                        refusing = partial(chosen.nodes_refusing, device=found.device)
                        if found.device == "cpu":
                            check_cpus(left, refusing)
                        if not chosen.is_here():
                            check_metrics(runs_left, refusing)
                        launch = Launch(
                            checked=checked,
                            out=out,
                            token=lease.token,
                            executor=chosen,
                            resources=found.shared(study.settings.gpus_per_worker),
                            console=console,
                            trackers=supervisor,
                            threads=threads,
                            named_for_large_bases=wanted.device != "auto" and any(large_bases(left)),
                        )
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


def _carry_out_requests(study: Study, store: RunStore) -> bool:
    """Do what was asked of the study's runs since the last launch; whether there was anything."""
    requests = RunRequests(store.out)
    is_asked = bool(study.by_key.keys() & requests.asked().keys())
    if is_asked:
        with suppress(InUse), acquire(store.out):  # whoever works there hears them
            requests.carry_out(study.by_key, local_place(store.out) / "logs")
    return is_asked


def _print_check(found: Resources, console: Console) -> None:
    """Say what is wrong with what is known of the GPUs."""
    model = None if found.hardware is None else found.hardware.name
    if found.device == "cuda" and (advice := check_advice(model)):
        console.print(f"device: {advice}")


def _check_unnamed(
    found: DeviceKind, bases: Sequence[BaseRef], out: Folder, before: UsedDevice | None
) -> None:
    """ValueError where going on with the device that was found must be an accident, as nobody named it: the
    folder's runs are of another kind, or a base is large and no launch with such bases named it before.
    """
    check_device_kind(None if before is None else before.device, found, out)
    if before is None or not before.named_for_large_bases:
        check_sizes(bases, found, advice=_ON_CPUS)


def _device_of(store: RunStore, done: Sequence[str]) -> UsedDevice | None:
    """What runs of the folder were computed on last; None where there are none.

    A folder of an earlier version has no record of it: there a finished run tells.
    """
    kept = KeptDevice(store.out).read()
    if kept is not None or not done:
        return kept
    rows = read_table(store.run_folder(done[0]) / RESULTS_FILE, RESULTS)
    return UsedDevice(device=rows["device"][0].as_py())


def _runs_left(study: Study, status: StudyStatus) -> list[RunConfig]:
    """The runs that are not finished."""
    finished = {*status.done, *status.failed_for_good}
    return [run for run in study.runs if run.key not in finished]


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
