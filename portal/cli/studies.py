"""Studies from the command line: `portal demo`, `portal sweep plan|run|status|collect`."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from portal.cli.options import check_at_least_one
from portal.cli.output import print_table, warn

if TYPE_CHECKING:
    from rich.console import Console

    from portal.storage.paths import Folder
    from sweeps.launch.launch_result import LaunchResult
    from sweeps.study.expand import Study

sweep = typer.Typer(help="A study: plan it, run it, look at it, collect its tables.", rich_markup_mode=None)

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A shipped study, or the path of a YAML file.")
]
Out = Annotated[
    str | None, typer.Option(help="Output folder, or a URL like s3://bucket/folder; default: portal-NAME.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ExecutorName = Literal["auto", "train", "plain", "local"]
Executor = Annotated[
    ExecutorName,
    typer.Option(
        help="train: Ray Train worker groups; plain: Tune actors, quicker to start; auto: what suits the "
        "predicted time; local: this process, one pack after another on all cores of the CPU, without Ray."
    ),
]

Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        help="Log every run there too, epoch by epoch: tensorboard, mlflow, wandb or trackio; may be "
        "repeated. A launch again logs what is missing.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another driver of this folder to end.")]


def demo(
    out: Annotated[Path, typer.Option(help="Output folder, no URL; the same command continues.")] = Path(
        "portal-demo"
    ),
    executor: Executor = "auto",
) -> None:
    """Run the demo study on the embedded bases, write its report, print its table."""
    from analysis.report.terminal import summary_table
    from portal.cli.reports import write_one
    from sweeps.results.snapshot import collect_snapshot
    from sweeps.study.expand import load_study

    started = time.monotonic()
    study = load_study("demo")
    outcome = _run(study, out, executor)
    if outcome.done:
        results = collect_snapshot(study.manifest, out)
        page = write_one(results, out / "report")
        typer.echo(summary_table(out / "results"))
        typer.echo(f"\n{outcome.done} of {outcome.total} runs in {time.monotonic() - started:.0f} s")
        typer.echo(f"report: {page}")
    _finish(outcome)


@sweep.command()
def plan(
    study: StudyName,
    out: Out = None,
    device: Annotated[
        str | None,
        typer.Option(help="Predict for b200, h200, h100, a100 or cpu (default: what this machine has)."),
    ] = None,
    count: Annotated[int, typer.Option(help="How many such devices the study runs on.")] = 1,
    price: Annotated[float | None, typer.Option(help="Of one device for an hour, in your currency.")] = None,
    as_json: Json = False,
) -> None:
    """Check a study and print what is left to do and what that is predicted to take; nothing is trained."""
    from sweeps.launch.lane_layout import choose_executor, lay_out
    from sweeps.planning.cost_model import duration
    from sweeps.planning.devices import find_device
    from sweeps.planning.plan import PLAN_HEADERS, STAGE_HEADERS, plan_study

    whole = find_device(device)
    loaded = _load(study)
    check_at_least_one(count=count)
    share = loaded.settings.gpus_per_worker if whole.is_gpu else 1.0
    where, workers = whole.part(share), count * int(1 / share)
    planned = plan_study(loaded, find_folder(loaded, out), device=where, lanes=workers)
    bases = [len(pack.bases) for pack in planned.packs]
    layout = lay_out(bases, (workers,), planned.how.workers_per_pack)
    if as_json:
        typer.echo(json.dumps(planned.to_json()))
        return
    counts = {"done": planned.done, "failed": planned.failed, "missing": planned.missing}
    summary = ", ".join(f"{len(runs)} {name}" for name, runs in counts.items())
    typer.echo(f"study {loaded.name}: {len(loaded.runs)} runs, {len(loaded.tasks)} tasks; {summary}")
    if planned.packs:
        print_table(PLAN_HEADERS, planned.rows())
        typer.echo("")
        print_table(STAGE_HEADERS, planned.stage_rows())
        packed, alone = (duration(hours) for hours in planned.totals())
        typer.echo(
            f"predicted for {where.name}, one device: {packed} as packed, {alone} unpacked "
            "(every run in a process of its own, every task's LoRA after another)"
        )
        schedule = planned.schedule(workers if layout.singles else layout.count)
        shared = f", {workers // count} workers on each" if workers > count else ""
        if workers > 1:
            typer.echo(
                f"on {count} devices{shared}: {duration(schedule.makespan / 3600)} from start to end, "
                f"{schedule.makespan / schedule.lower_bound:.2f} times the least possible"
            )
        kept, needed = planned.bytes_written(workers)
        typer.echo(f"in the output folder: {_size(kept)} in the end, and up to {_size(needed)} while it runs")
        if price is not None:
            hours = planned.totals()[0]
            held = count * schedule.makespan / 3600
            typer.echo(
                f"cost at {price:g} a device-hour: {price * share * hours:.2f} for the work, "
                f"{price * held:.2f} with the devices held from start to end"
            )
        chosen = choose_executor("auto", planned.lane_seconds(workers))
        typer.echo(f"executor auto: {chosen}")
        over = [
            pack.key
            for pack, each in zip(planned.packs, planned.forecasts, strict=True)
            if each.memory_bytes > where.budget_bytes
        ]
        if over:
            warn(f"{len(over)} pack(s) may not fit {where.name}: {', '.join(over)}")


@sweep.command()
def run(
    study: StudyName,
    out: Out = None,
    executor: Executor = "auto",
    wait: Wait = False,
    tracker: Trackers = None,
    as_json: Json = False,
) -> None:
    """Do what is missing of a study; collects its tables when something was."""
    loaded = _load(study)
    folder = find_folder(loaded, out)
    complete(loaded, folder, executor, as_json=as_json, wait=wait, trackers=tracker or ())


def complete(
    loaded: "Study",
    folder: "Folder",
    executor: ExecutorName,
    *,
    as_json: bool,
    wait: bool = False,
    trackers: Sequence[str] = (),
) -> None:
    """Finish the study, collect its tables, and say how it went; exit 3 unless all runs are done."""
    from sweeps.results.snapshot import collect_snapshot, is_stale

    outcome = _run(loaded, folder, executor, wait=wait, trackers=trackers)
    if outcome.done and is_stale(loaded.manifest, folder):
        collect_snapshot(loaded.manifest, folder)
    if as_json:
        failures = [vars(failure) for failure in outcome.failures]
        counts = {"total": outcome.total, "done": outcome.done, "trained": outcome.trained}
        typer.echo(json.dumps({**counts, "failures": failures, "wall_s": round(outcome.wall_s, 3)}))
    else:
        trained = f"{outcome.trained} trained now" if outcome.trained else "nothing was left to train"
        typer.echo(f"study {loaded.name}: {outcome.done} of {outcome.total} runs done, {trained}")
    _finish(outcome)


@sweep.command()
def status(study: StudyName, out: Out = None, as_json: Json = False) -> None:
    """Count a study's runs: total, done, running, failed, missing."""
    from sweeps.store.run_store import Store
    from sweeps.store.study_status import StudyStatus

    loaded = _load(study)
    folder = find_folder(loaded, out)
    status = StudyStatus.read(Store(folder), loaded.runs)
    if as_json:
        typer.echo(json.dumps(status.counts))
        return
    counts = ", ".join(f"{count} {name}" for name, count in status.counts.items())
    typer.echo(f"study {loaded.name} in {folder}: {counts}")
    for key, failure in status.failed.items():
        name = loaded.by_key[key].describe()
        typer.echo(f"  failed: {name} ({key}): {failure.cause}; log: {failure.log}")


@sweep.command()
def collect(study: StudyName, out: Out = None, as_json: Json = False) -> None:
    """Write results.parquet and predictions.parquet from the finished runs."""
    from portal.results import PREDICTIONS_FILE, RESULTS_FILE
    from sweeps.results.snapshot import collect_snapshot

    loaded = _load(study)
    results = collect_snapshot(loaded.manifest, find_folder(loaded, out))
    paths = {"results": str(results / RESULTS_FILE), "predictions": str(results / PREDICTIONS_FILE)}
    if as_json:
        typer.echo(json.dumps(paths))
        return
    for path in paths.values():
        typer.echo(path)


def _size(num_bytes: float) -> str:
    """For people: `17 MB`, `2.3 GB`."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _load(name: str) -> "Study":
    from sweeps.study.expand import load_study

    return load_study(name)


def find_folder(study: "Study", out: str | None) -> "Folder":
    from portal.storage.paths import open_folder

    return open_folder(out or f"portal-{study.name}")


def _run(
    study: "Study",
    out: "Folder",
    executor: ExecutorName,
    *,
    wait: bool = False,
    trackers: Sequence[str] = (),
) -> "LaunchResult":
    from sweeps.launch.driver import run_study

    threads = len(os.sched_getaffinity(0)) if executor == "local" else 1
    return run_study(
        study,
        out,
        executor=executor,
        console=progress_console(),
        threads=threads,
        wait=wait,
        trackers=trackers,
    )


def progress_console() -> "Console":
    """Where progress goes: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _finish(outcome: "LaunchResult") -> None:
    """Exit 3, every run without a result listed with its cause and log, unless all are done."""
    if not outcome.failures:
        return
    warn(f"{len(outcome.failures)} of {outcome.total} runs have no result:")
    for failure in outcome.failures:
        warn(f"  {failure.name} ({failure.run}): {failure.cause}; log: {failure.log}")
    raise typer.Exit(outcome.exit_code)
