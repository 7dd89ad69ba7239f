"""`portal sweep retry|pause|stop|cancel|fsck|gc`: what keeps an output folder in order."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.exit_codes import FAILED
from portal.cli.options import (
    AlertsOption,
    BudgetOption,
    BudgetPriceOption,
    ExecutorOption,
    FolderArgument,
    GpusOption,
    JsonOption,
    OutOption,
    SeedsOption,
    StudyArgument,
    StudyDeviceOption,
    chosen_wanted_device,
)
from portal.cli.output import print_table, warn
from portal.cli.sweep.run import chosen_alerts, complete, open_study
from portal.messages import counted

if TYPE_CHECKING:
    from sweeps.store.study_status import Request

RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Keys of runs, as on their pages.")]


def retry(
    study: StudyArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Keys of failed, paused or stopped runs.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Retry all failed, paused and stopped runs.")
    ] = False,
    out: OutOption = None,
    seed: SeedsOption = None,
    executor: ExecutorOption = "auto",
    device: StudyDeviceOption = None,
    gpus: GpusOption = 0,
    alert: AlertsOption = None,
    price: BudgetPriceOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clear failures, pauses and stops, and run the study again; runs resume from their last checkpoint.

    Where a driver works, it is asked to.
    """
    from portal.storage.paths import local_place
    from sweeps.store.run_store import RunStore
    from sweeps.store.study_status import RunRequests
    from sweeps.study.manifest import launched_study

    alerts = chosen_alerts(alert, price, budget)
    loaded, folder = open_study(study, out, seed, device=chosen_wanted_device(device, gpus))
    store, requests = RunStore(folder), RunRequests(folder)
    ended = [run.key for run in loaded.runs if store.failure(run.key) is not None]
    listed = ", ".join(ended) or "none"
    if not runs and not failed:
        raise ValueError(f"name failed runs, or all of them by --failed; failed: {listed}")
    for key in runs or []:
        if key not in ended and key not in requests.asked():
            raise ValueError(f"run {key!r} has not failed here; failed: {listed}")
    chosen = ended if failed else runs or []
    if requests.ask_or_do(chosen, "retry", local_place(folder) / "logs"):
        who = "the driver at work here, when its lanes are done"
        if (at_work := launched_study(folder)) != loaded.name:
            who = f"the next launch of study {loaded.name!r}: the driver at work here trains {at_work!r}"
        told = f"{folder}: {len(chosen)} to be tried again by {who}"
        if alerts.targets:
            warn("--alert is for a launch; the driver at work here tells those that its own launch names")
        typer.echo(json.dumps({"asked": chosen}) if as_json else told)
        return
    complete(loaded, folder, executor, as_json=as_json, gpus=gpus, seeds=seed or (), alerts=alerts)


def pause(folder: FolderArgument, runs: RunsArgument) -> None:
    """Leave runs out until they are retried; they keep their last checkpoint, and the others go on."""
    _leave_out(folder, runs, "pause")


def stop(folder: FolderArgument, runs: RunsArgument) -> None:
    """End runs where they are; the others go on."""
    _leave_out(folder, runs, "stop")


def _leave_out(folder: str, keys: list[str], request: "Request") -> None:
    """Ask the driver that works on the folder, or mark the runs where there is none."""
    from portal.storage.paths import local_place, open_folder
    from sweeps.store.study_status import RunRequests

    place = open_folder(folder)
    if RunRequests(place).ask_or_do(keys, request, local_place(place) / "logs"):
        typer.echo(f"{folder}: the driver at work here is asked to {request} {', '.join(keys)}")
    else:
        typer.echo(f"{folder}: no launch trains {', '.join(keys)} until `portal sweep retry` lets them go on")


def cancel(folder: FolderArgument) -> None:
    """Stop the driver that works on a folder, on whichever host it runs; nothing finished is lost."""
    from portal.storage.paths import open_folder
    from sweeps.store.lease import request_cancel

    holder = request_cancel(open_folder(folder))
    if holder is None:
        typer.echo(f"{folder}: no driver works here")
    else:
        typer.echo(
            f"stopped process {holder['pid']} on {holder['host']}; `portal sweep run` continues the study"
        )


def fsck(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Check every digest in a folder, and of the bases that its runs were made with.

    Exit code 3 when something is wrong; each fault is printed with its remedy.
    """
    from portal.storage.paths import open_folder
    from sweeps.store.fsck import check_folder

    faults, count = check_folder(open_folder(folder))
    if as_json:
        listed = [{"path": str(each.path), "what": each.what, "remedy": each.remedy} for each in faults]
        typer.echo(json.dumps({"checked": count, "faults": listed}))
    else:
        for fault in faults:
            warn(str(fault))
        typer.echo(
            f"{folder}: {count} runs, packs, caches, tables and bases checked, "
            f"{counted(len(faults), 'fault')}"
        )
    if faults:
        raise typer.Exit(FAILED)


def gc(
    folder: FolderArgument,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what a folder no longer needs: optimiser states of finished runs, leftovers of killed drivers."""
    from portal.storage.paths import open_folder
    from sweeps.store.gc import delete_garbage, find_garbage

    place = open_folder(folder)
    if not (place / "runs").is_dir():
        raise ValueError(f"{folder}: no study was run in this folder")
    garbage = delete_garbage(place) if delete else find_garbage(place)
    total = sum(each.num_bytes for each in garbage)
    if as_json:
        listed = [{"path": str(each.path), "bytes": each.num_bytes, "why": each.why} for each in garbage]
        typer.echo(json.dumps({"deleted": delete, "bytes": total, "garbage": listed}))
        return
    if not garbage:
        typer.echo(f"{folder}: nothing to delete")
        return
    lines = [
        (str(each.path).removeprefix(f"{place}/"), f"{each.num_bytes / 2**20:.1f}", each.why)
        for each in garbage
    ]
    print_table(("path", "MiB", "why"), lines)
    done = "deleted" if delete else "can go; --delete deletes it"
    typer.echo(f"{folder}: {total / 2**20:.1f} MiB in {len(garbage)} places {done}")
