"""`portal sweep`: the commands of a study, and `portal demo`, a whole one on the embedded bases."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portal.cli import options
from portal.cli.exit_codes import FAILED
from portal.cli.output import print_table, progress_console, warn
from portal.cli.reports import write_one
from portal.messages import counted

if TYPE_CHECKING:
    from portal.config import DeviceChoice, DeviceKind
    from portal.search_record import SearchRecord
    from portal.storage.paths import Folder
    from sweeps.launch.driver import LaunchResult
    from sweeps.launch.lane_layout import LaneLayout
    from sweeps.planning.plan import Plan
    from sweeps.search.run_search import SearchPlan, SearchResult
    from sweeps.store.study_status import Request
    from sweeps.study.expand import Study

_RUN, _FOLDER, _FILE = "Plan and run", "Output folder", "Study file"
SHOWN = 10
"""Trials that are printed, the best first."""

RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Keys of runs, as on their pages.")]

sweep = typer.Typer(help="Plan, run, search and look after studies.")


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Output folder; the same command continues in it.")
    ] = Path("portal-demo"),
    executor: options.Executor = "auto",
) -> None:
    """Run the demo study on the embedded bases: 10 to 22 minutes on two cores, without a download.

    Prints the study's table and writes its report.
    """
    from analysis.report.sentences import summary_table
    from portal.storage.paths import fetched
    from sweeps.launch.driver import run_study
    from sweeps.results.snapshot import collect_snapshot
    from sweeps.study.expand import load_study

    started = time.monotonic()
    study = load_study("demo", out=out)
    outcome = run_study(
        study, out, executor=executor, console=progress_console(), threads=threads_for(executor)
    )
    if outcome.done:
        results = collect_snapshot(study.manifest, out)
        page = write_one(results, out / "report")
        with fetched(results) as tables:
            typer.echo(summary_table(tables))
        typer.echo(f"\n{outcome.done} of {outcome.total} runs in {time.monotonic() - started:.0f} s")
        typer.echo(f"report: {page}")
    finish(outcome)


@sweep.command(rich_help_panel=_RUN)
def plan(
    study: options.Study,
    out: options.Out = None,
    device: Annotated[
        Literal["b200", "h200", "h100", "a100", "cpu"] | None,
        typer.Option(help="Device to predict for. Default: what this machine has."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of such devices.")] = 1,
    price: options.Price = None,
    seed: options.Seeds = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="List every run: label, bases, size, seed, state and key.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check a study, and predict the time, memory and disk of what is left to do. Nothing is trained.

    On a CPU each core has a worker, as far as there are packs and memory.
    """
    loaded, folder = open_study(study, out, seed, outline=True)

    from portal.device import usable_cores
    from sweeps.launch.executors import workers_on
    from sweeps.launch.lane_layout import read_lane_plan
    from sweeps.planning.checks import check_row_lengths, metric_notes, row_warnings, unchecked_tokenizers
    from sweeps.planning.devices import find_device
    from sweeps.planning.plan_table import (
        RUN_HEADERS,
        division_lines,
        run_records,
        run_rows,
        state_line,
        to_json,
    )

    whole = find_device(device or ("cpu" if loaded.settings.device == "cpu" else None))
    share = loaded.settings.gpus_per_worker if whole.is_gpu else 1.0
    workers = workers_on(count, share)
    if not workers:
        raise ValueError(f"gpus_per_worker: {share:g} needs --count {share:g} at least, which is {count}")
    nodes = [workers] if whole.is_gpu else [usable_cores()] * count
    planned, layout = read_lane_plan(loaded, folder, whole.for_worker(share), nodes)
    if not whole.is_gpu:
        workers, share = layout.num_workers, planned.device.flops / whole.flops
    unchecked = unchecked_tokenizers(planned.bases)
    outlined, unmeasured = loaded.suite.is_outline, metric_notes(planned.missing)
    sampled = () if outlined else check_row_lengths(loaded, folder, planned.bases, is_offline=bool(unchecked))
    if as_json:
        listed = {
            "runs": run_records(planned),
            "tokenizers_not_checked": unchecked,
            "warnings": [*row_warnings(loaded), *unmeasured],
            "coverage": planned.checked.notes,
            "rows_at_hand": not outlined,
        }
        typer.echo(json.dumps({**to_json(planned, _num_lanes(layout, workers)), **listed}))
        return
    typer.echo(state_line(planned))
    if outlined:
        warn(
            "the rows of public benchmarks are not at hand: they are counted from the known sizes of these; "
            "the plan has no run keys, and the study cannot be run here"
        )
    for line in (*planned.checked.notes, *division_lines(planned)):
        typer.echo(line)
    if runs:
        print_table(RUN_HEADERS, run_rows(planned))
        typer.echo("")
    if planned.packs:
        _print_predictions(planned, layout, count, workers, price=price, share=share)
    _print_checks(sampled, (*row_warnings(loaded), *unmeasured), unchecked)


@sweep.command(rich_help_panel=_RUN)
def run(
    study: options.Study,
    out: options.Out = None,
    executor: options.Executor = "auto",
    device: options.StudyDevice = None,
    gpus: options.Gpus = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait while another driver works on the output folder.")
    ] = False,
    tracker: options.Trackers = None,
    alert: options.Alerts = None,
    seed: options.Seeds = None,
    as_json: options.Json = False,
) -> None:
    """Train and score the runs of a study that are missing, then collect its tables.

    The same command again continues where it stopped. Exit code 3 unless all runs are done.
    """
    loaded, folder = open_study(study, out, seed, device=device or ("cuda" if gpus else None))

    from sweeps.launch.driver import run_study
    from sweeps.planning.checks import row_warnings
    from sweeps.sinks.alerts import Alerts

    alerts = Alerts(tuple(alert or ()))
    for line in (*row_warnings(loaded), *_earlier_place(loaded, folder)):
        warn(line)
    outcome = run_study(
        loaded, folder, executor=executor, console=progress_console(), threads=threads_for(executor),
        gpus=gpus, wait=wait, trackers=tracker or (), alerts=alerts,
    )  # fmt: skip
    close(outcome, loaded, folder, seed or (), as_json=as_json)


@sweep.command(rich_help_panel=_RUN)
def search(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SEARCH",
            help="A shipped search, or the path of a study file with a `search` section.",
            autocompletion=options.one_of("sweeps.study.catalogue:shipped_searches"),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output folder; no URL. Default: portal-NAME, by the study's name."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Number of trials in all, instead of the file's.")
    ] = None,
    executor: options.Executor = "auto",
    gpus: options.Gpus = 0,
    alert: options.Alerts = None,
    as_json: options.Json = False,
) -> None:
    """Search a method's settings with Optuna, and write the best as a study file.

    The same command again goes on with the search. Exit code 3 unless all trials came to their end.
    """
    from portal.storage.object_store import is_url
    from sweeps.search.run_search import SearchPlan, run_search
    from sweeps.sinks.alerts import Alerts
    from sweeps.study.catalogue import find_search

    if out is not None and is_url(str(out).replace(":/", "://", 1)):
        raise ValueError(f"{out}: a search keeps Optuna's SQLite storage in its output folder; name a folder")
    plan = SearchPlan(find_search(name))
    if trials is not None:
        plan.search = plan.search.model_copy(update={"trials": trials})
    folder = out or Path(f"portal-{plan.name}")
    outcome = run_search(
        plan, folder, executor=executor, console=progress_console(), threads=threads_for(executor),
        gpus=gpus, alerts=Alerts(tuple(alert or ())),
    )  # fmt: skip
    if as_json:
        record = outcome.record.model_dump(mode="json")
        told = {name: record[name] for name in ("trials", "unknown")}
        told["importance"] = {name: each._asdict() for name, each in outcome.record.importance.items()}
        best = None if outcome.best is None else str(outcome.best)
        typer.echo(json.dumps({**told, "best": best, "storage": outcome.storage}))
    else:
        _print_trials(plan, outcome, folder)
    if outcome.best is None:
        warn(f"no trial came to its end; logs: {folder / 'logs'}")
    if outcome.best is None or any(trial.state == "running" for trial in outcome.trials):
        raise typer.Exit(FAILED)


@sweep.command(rich_help_panel=_RUN)
def retry(
    study: options.Study,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Keys of failed, paused or stopped runs.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Retry all failed, paused and stopped runs.")
    ] = False,
    out: options.Out = None,
    seed: options.Seeds = None,
    executor: options.Executor = "auto",
    device: options.StudyDevice = None,
    gpus: options.Gpus = 0,
    alert: options.Alerts = None,
    as_json: options.Json = False,
) -> None:
    """Clear failures, pauses and stops, and run the study again; runs resume from their last checkpoint.

    Where a driver works, it is asked to.
    """
    loaded, folder = open_study(study, out, seed, device=device or ("cuda" if gpus else None))

    from portal.storage.paths import local_place
    from sweeps.launch.driver import run_study
    from sweeps.sinks.alerts import Alerts
    from sweeps.store.run_store import RunStore
    from sweeps.store.study_status import RunRequests
    from sweeps.study.manifest import launched_study

    alerts = Alerts(tuple(alert or ()))
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
    outcome = run_study(
        loaded, folder, executor=executor, console=progress_console(), threads=threads_for(executor),
        gpus=gpus, alerts=alerts,
    )  # fmt: skip
    close(outcome, loaded, folder, seed or (), as_json=as_json)


@sweep.command(rich_help_panel=_RUN)
def pause(folder: options.StudyFolder, runs: RunsArgument) -> None:
    """Leave runs out until they are retried; they keep their last checkpoint, and the others go on."""
    _leave_out(folder, runs, "pause")


@sweep.command(rich_help_panel=_RUN)
def stop(folder: options.StudyFolder, runs: RunsArgument) -> None:
    """End runs where they are; the others go on."""
    _leave_out(folder, runs, "stop")


@sweep.command(rich_help_panel=_FOLDER)
def status(
    study: options.Study, out: options.Out = None, seed: options.Seeds = None, as_json: options.Json = False
) -> None:
    """Count a study's runs by state: total, done, running, failed, paused, stopped, missing."""
    from sweeps.results.live import read_status

    loaded, folder = open_study(study, out, seed)
    found = read_status(loaded, folder)
    if as_json:
        typer.echo(json.dumps(found.counts))
        return
    counts = ", ".join(f"{count} {name}" for name, count in found.counts.items())
    typer.echo(f"study {loaded.name} in {folder}: {counts}")
    for key, failure in found.failed.items():
        what = f"{found.states[key]}: {loaded.by_key[key].describe()} ({key})"
        typer.echo(f"  {what}: {failure.cause}; log: {failure.log}")


@sweep.command(rich_help_panel=_FOLDER)
def collect(
    study: options.Study, out: options.Out = None, seed: options.Seeds = None, as_json: options.Json = False
) -> None:
    """Write results.parquet and predictions.parquet from the runs that are finished."""
    from portal.results import PREDICTIONS_FILE, RESULTS_FILE
    from sweeps.results.snapshot import collect_snapshot
    from sweeps.store.output_folder import check_exists

    loaded, folder = open_study(study, out, seed)
    check_exists(folder)
    results = collect_snapshot(loaded.manifest, folder)
    paths = {"results": str(results / RESULTS_FILE), "predictions": str(results / PREDICTIONS_FILE)}
    if as_json:
        typer.echo(json.dumps(paths))
        return
    typer.echo("\n".join(paths.values()))


@sweep.command(rich_help_panel=_FOLDER)
def cancel(folder: options.StudyFolder) -> None:
    """Stop the driver that works on a folder, on whichever host it runs; nothing finished is lost."""
    from portal.storage.paths import open_folder
    from sweeps.store.lease import request_cancel

    holder = request_cancel(open_folder(folder))
    told = f"{folder}: no driver works here"
    if holder is not None:
        who = f"process {holder['pid']} on {holder['host']}"
        told = f"stopped {who}; `portal sweep run` continues the study"
    typer.echo(told)


@sweep.command(rich_help_panel=_FOLDER)
def fsck(folder: options.StudyFolder, as_json: options.Json = False) -> None:
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


@sweep.command(rich_help_panel=_FOLDER)
def gc(
    folder: options.StudyFolder,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
    as_json: options.Json = False,
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


@sweep.command(rich_help_panel=_FILE)
def schema() -> None:
    """Print the JSON schema of study files, for editors that complete and check them."""
    from sweeps.study.study_file import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


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

    path = find_study(study)
    from sweeps.study.expand import load_study, read_study  # loads transformers

    folder = open_folder(out or f"portal-{read_study(path).name}")
    loaded = load_study(study, out=folder, device=device, outline=outline)
    return (loaded.part(seeds) if seeds else loaded), folder


def _earlier_place(study: "Study", out: "Folder") -> "Iterator[str]":
    """A line where the study's runs lie in the folder above, the default of earlier cluster files."""
    from sweeps.study.manifest import launched_studies

    above = out.parent
    if study.name in {*launched_studies(above)} - {*launched_studies(out)}:
        yield (
            f"runs of study {study.name!r} lie in {above}, the earlier default; --out {above} continues them"
        )


def threads_for(executor: options.ExecutorName) -> int:
    """Threads of torch: those of the command's own process, one for each worker on Ray."""
    from portal.device import own_threads

    return own_threads() if executor == "local" else 1


def close(
    outcome: "LaunchResult", study: "Study", folder: "Folder", seeds: Sequence[int], *, as_json: bool
) -> None:
    """Collect the tables of a study that was launched, and say how it went; exit 3 unless all runs are done.

    With `seeds` it is the part of a study with these seeds, whose tables are kept beside the next part's.
    """
    from sweeps.results.snapshot import collect_snapshot, is_stale, keep_part

    if outcome.done and seeds:
        keep_part(study.manifest, folder, seeds)
    elif outcome.done and is_stale(study.manifest, folder):
        collect_snapshot(study.manifest, folder)
    if as_json:
        failures = [vars(failure) for failure in outcome.failures]
        counts = {"total": outcome.total, "done": outcome.done, "trained": outcome.trained}
        counts |= {"tried": outcome.tried, "failed": outcome.failed, "left_out": outcome.left_out}
        typer.echo(json.dumps({**counts, "failures": failures, "wall_s": round(outcome.wall_s, 3)}))
    else:
        typer.echo(f"study {study.name}: {outcome.done} of {outcome.total} runs done, {outcome.summary}")
    finish(outcome)


def finish(outcome: "LaunchResult") -> None:
    """Exit 3, every run without a result listed with its cause and log, unless all are done."""
    if outcome.is_done:
        return
    warn(f"{len(outcome.failures)} of {outcome.total} runs have no result:")
    for failure in outcome.failures:
        warn(f"  {failure.name} ({failure.run}): {failure.cause}; log: {failure.log}")
    raise typer.Exit(FAILED)


def _leave_out(folder: str, keys: list[str], request: "Request") -> None:
    """Ask the driver that works on the folder, or mark the runs where there is none."""
    from portal.storage.paths import local_place, open_folder
    from sweeps.store.study_status import RunRequests

    place = open_folder(folder)
    if RunRequests(place).ask_or_do(keys, request, local_place(place) / "logs"):
        typer.echo(f"{folder}: the driver at work here is asked to {request} {', '.join(keys)}")
    else:
        typer.echo(f"{folder}: no launch trains {', '.join(keys)} until `portal sweep retry` lets them go on")


def _print_checks(sampled: Sequence[str], warnings: Iterable[str], unchecked: Sequence[str]) -> None:
    """What is checked in part, what is doubtful, and what could not be checked."""
    if sampled:
        typer.echo(
            f"row lengths: the longest texts per task fit {', '.join(sampled)}; all are checked when it runs"
        )
    for line in warnings:
        warn(line)
    if unchecked:
        warn(
            f"not checked, no network: the tokenizers of {', '.join(unchecked)}; a run needs and checks them"
        )


def _num_lanes(layout: "LaneLayout", workers: int) -> int:
    """Lanes that are played through: one for each worker, or for each team where all are in teams."""
    return workers if layout.singles else layout.count


def _print_predictions(
    planned: "Plan", layout: "LaneLayout", count: int, workers: int, *, price: float | None, share: float
) -> None:
    """Every pack and every stage; device time, time from start to end, disk, executor, cost and warnings."""
    from sweeps.launch.executors import suited_executor
    from sweeps.planning.plan_table import (
        PACK_HEADERS,
        STAGE_HEADERS,
        cost_line,
        memory_warning,
        pack_rows,
        room_lines,
        stage_rows,
        time_lines,
    )

    print_table(PACK_HEADERS, pack_rows(planned))
    typer.echo("")
    print_table(STAGE_HEADERS, stage_rows(planned))
    schedule = planned.schedule(_num_lanes(layout, workers))
    for line in time_lines(planned, schedule, devices=count, workers=workers):
        typer.echo(line)
    kind: DeviceKind = "cuda" if planned.device.is_gpu else "cpu"
    chosen = suited_executor(planned.lane_seconds(workers), kind, has_teams=layout.teams > 0)
    typer.echo(f"executor auto: {chosen}")
    if price is not None:
        typer.echo(cost_line(planned, price, share=share, held_hours=count * schedule.makespan / 3600))
    warning = memory_warning(planned)
    if warning is not None:
        warn("; ".join((warning, *room_lines(planned))))


def _print_trials(plan: "SearchPlan", outcome: "SearchResult", folder: Path) -> None:
    """Counts by state, the best trials with their settings, and what to do with them."""
    typer.echo(f"search {plan.name}: {outcome.record.counts}")
    space = plan.search.space
    print_table(
        ("trial", "state", plan.search.metric, "epochs", *space),
        [
            (
                str(trial.number),
                trial.state,
                "" if trial.value is None else f"{trial.value:.4f}",
                "" if trial.epoch is None else str(trial.epoch),
                *(_shown(trial.settings[key]) for key in space),
            )
            for trial in outcome.trials[:SHOWN]
        ],
    )
    typer.echo(_importance(outcome.record))
    typer.echo(f"trials: optuna-dashboard {outcome.storage}")
    if outcome.best is not None:
        typer.echo(f"the best as a study: portal sweep run {outcome.best} --out {folder}")


def _importance(record: "SearchRecord") -> str:
    """Which settings mattered, in a line."""
    if record.unknown is not None:
        return f"which setting mattered is not known: {record.unknown}"
    shares = ", ".join(
        f"{name} {100 * each.share:.0f} % ({100 * each.low:.0f} to {100 * each.high:.0f})"
        for name, each in record.ranked
    )
    return f"which setting mattered (fANOVA over {len(record.complete)} trials, 95 %): {shares}"


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')
