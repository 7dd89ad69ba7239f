"""`portal sweep run`: a launch of a study, and how it ended."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.exit_codes import FAILED
from portal.cli.options import (
    AlertsOption,
    BudgetOption,
    BudgetPriceOption,
    ExecutorOption,
    GpusOption,
    JsonOption,
    OutOption,
    SeedsOption,
    StudyArgument,
    StudyDeviceOption,
    TrackersOption,
    chosen_executor,
    chosen_wanted_device,
)
from portal.cli.output import progress_console, warn

if TYPE_CHECKING:
    from portal.config import DeviceChoice
    from portal.storage.paths import Folder
    from sweeps.alerts.alerts import Alerts
    from sweeps.launch.launch_result import LaunchResult
    from sweeps.study.expand import Study


def run(
    study: StudyArgument,
    out: OutOption = None,
    executor: ExecutorOption = "auto",
    device: StudyDeviceOption = None,
    gpus: GpusOption = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another driver works on the output folder.")
    ] = False,
    tracker: TrackersOption = None,
    alert: AlertsOption = None,
    price: BudgetPriceOption = None,
    budget: BudgetOption = None,
    seed: SeedsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and score the runs of a study that are missing, then collect its tables.

    The same command again continues where it stopped. Exit code 3 unless all runs are done.
    """
    from sweeps.planning.checks import row_warnings

    alerts = chosen_alerts(alert, price, budget)
    loaded, folder = open_study(study, out, seed, device=chosen_wanted_device(device, gpus))
    for line in (*row_warnings(loaded), *_earlier_place(loaded, folder)):
        warn(line)
    trackers, seeds = tracker or (), seed or ()
    complete(
        loaded,
        folder,
        executor,
        as_json=as_json,
        gpus=gpus,
        wait=wait,
        trackers=trackers,
        seeds=seeds,
        alerts=alerts,
    )


def _earlier_place(study: "Study", out: "Folder") -> "Iterator[str]":
    """A line where the study's runs lie in the folder above, the default of earlier cluster files."""
    from sweeps.study.manifest import is_launched

    above = out.parent
    if is_launched(above, study.name) and not is_launched(out, study.name):
        yield (
            f"runs of study {study.name!r} lie in {above}, the earlier default; --out {above} continues them"
        )


def chosen_alerts(targets: Sequence[str] | None, price: float | None, budget: float | None) -> "Alerts":
    """What the three options ask for; ValueError for a budget without a price or a target."""
    from sweeps.alerts.alerts import Alerts, Budget

    if (budget is None) != (price is None):
        raise ValueError("--budget and --price go together: a budget is spent at a price per device-hour")
    limit = None if budget is None or price is None else Budget(budget, price)
    return Alerts(tuple(targets or ()), limit)


def complete(
    loaded: "Study",
    folder: "Folder",
    executor: str,
    *,
    as_json: bool,
    gpus: int = 0,
    wait: bool = False,
    trackers: Sequence[str] = (),
    seeds: Sequence[int] = (),
    alerts: "Alerts | None" = None,
) -> None:
    """Finish the study, collect its tables, and say how it went; exit 3 unless all runs are done.

    With `seeds` it is the part of a study with these seeds, whose tables are kept beside the next part's.
    """
    from sweeps.results.snapshot import collect_snapshot, is_stale, keep_part

    outcome = launch(loaded, folder, executor, gpus=gpus, wait=wait, trackers=trackers, alerts=alerts)
    if outcome.done and seeds:
        keep_part(loaded.manifest, folder, seeds)
    elif outcome.done and is_stale(loaded.manifest, folder):
        collect_snapshot(loaded.manifest, folder)
    if as_json:
        failures = [vars(failure) for failure in outcome.failures]
        counts = {"total": outcome.total, "done": outcome.done, "trained": outcome.trained}
        counts |= {"tried": outcome.tried, "failed": outcome.failed, "left_out": outcome.left_out}
        typer.echo(json.dumps({**counts, "failures": failures, "wall_s": round(outcome.wall_s, 3)}))
    else:
        typer.echo(f"study {loaded.name}: {outcome.done} of {outcome.total} runs done, {outcome.summary}")
    finish(outcome)


def open_study(
    study: str,
    out: str | None,
    seeds: Sequence[int] | None = None,
    *,
    device: "DeviceChoice | None" = None,
    outline: bool = False,
) -> "tuple[Study, Folder]":
    """The study as its output folder keeps it, and that folder: the one that `--out` names, or its own.

    With `seeds` the study has no runs but those of these seeds; a `device` takes the place of its own;
    `outline` is that of `load_study`.
    """
    from portal.storage.paths import open_folder
    from sweeps.study.catalogue import find_study
    from sweeps.study.expand import load_study, read_study

    folder = open_folder(out or f"portal-{read_study(find_study(study)).name}")
    loaded = load_study(study, out=folder, device=device, outline=outline)
    return (loaded.part(seeds) if seeds else loaded), folder


def launch(
    study: "Study",
    out: "Folder",
    executor: str,
    *,
    gpus: int = 0,
    wait: bool = False,
    trackers: Sequence[str] = (),
    alerts: "Alerts | None" = None,
) -> "LaunchResult":
    """Finish what is missing of the study, with its progress on stderr."""
    from sweeps.launch.driver import run_study

    return run_study(
        study,
        out,
        executor=chosen_executor(executor),
        console=progress_console(),
        threads=threads_for(executor),
        gpus=gpus,
        wait=wait,
        trackers=trackers,
        alerts=alerts,
    )


def threads_for(executor: str) -> int:
    """Threads of torch: those of the command's own process, one for each worker on Ray."""
    from portal.device import own_threads

    return own_threads() if executor == "local" else 1


def finish(outcome: "LaunchResult") -> None:
    """Exit 3, every run without a result listed with its cause and log, unless all are done."""
    if outcome.is_done:
        return
    warn(f"{len(outcome.failures)} of {outcome.total} runs have no result:")
    for failure in outcome.failures:
        warn(f"  {failure.name} ({failure.run}): {failure.cause}; log: {failure.log}")
    raise typer.Exit(FAILED)
