"""Studies from the command line: `portal demo`, `portal sweep plan|run|status|collect`, `portal report`."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from portal.cli.options import check_at_least_one
from portal.cli.output import print_table, warn

if TYPE_CHECKING:
    from rich.console import Console

    from portal.folder import Folder
    from sweeps.outcome import Outcome
    from sweeps.study import Study

INFO_FILE = "study.json"
"""Beside the result tables: what the report says about a study that the tables do not."""

COLLECTED_FILE = "collected.json"
"""Beside them too, written last: which runs they hold."""

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

Wait = Annotated[bool, typer.Option("--wait", help="Wait for another driver of this folder to end.")]


def demo(
    out: Annotated[Path, typer.Option(help="Output folder, no URL; the same command continues.")] = Path(
        "portal-demo"
    ),
    executor: Executor = "auto",
) -> None:
    """Run the demo study on the embedded bases, write its report, print its table."""
    from analysis.terminal import summary_table
    from sweeps.study import load_study

    started = time.monotonic()
    study = load_study("demo")
    outcome = _run(study, out, executor)
    if outcome.done:
        _collect(study, out)
        page = _write_report(out, out / "report")
        typer.echo(summary_table(out / "results", info=_read_info(out / "results")))
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
    from portal.devices import find_device
    from sweeps.forecast import duration
    from sweeps.lanes import choose_executor, lay_out
    from sweeps.plan import PLAN_HEADERS, STAGE_HEADERS, plan_study

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
    study: StudyName, out: Out = None, executor: Executor = "auto", wait: Wait = False, as_json: Json = False
) -> None:
    """Do what is missing of a study; collects its tables when something was."""
    loaded = _load(study)
    complete(loaded, find_folder(loaded, out), executor, as_json=as_json, wait=wait)


def complete(
    loaded: "Study", folder: "Folder", executor: ExecutorName, *, as_json: bool, wait: bool = False
) -> None:
    """Finish the study, collect its tables, and say how it went; exit 3 unless all runs are done."""
    outcome = _run(loaded, folder, executor, wait=wait)
    if outcome.done and _is_stale(loaded, folder):
        _collect(loaded, folder)
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
    from sweeps.collect import status as count_runs

    loaded = _load(study)
    folder = find_folder(loaded, out)
    counts = count_runs(loaded, folder)
    if as_json:
        typer.echo(json.dumps(counts))
        return
    typer.echo(
        f"study {loaded.name} in {folder}: " + ", ".join(f"{count} {name}" for name, count in counts.items())
    )
    for failure in _failed_runs(loaded, folder):
        typer.echo(
            f"  failed: {failure['name']} ({failure['run']}): {failure['cause']}; log: {failure['log']}"
        )


@sweep.command()
def collect(study: StudyName, out: Out = None, as_json: Json = False) -> None:
    """Write results.parquet and predictions.parquet from the finished runs."""
    from sweeps.collect import PREDICTIONS_FILE, RESULTS_FILE

    loaded = _load(study)
    results = _collect(loaded, find_folder(loaded, out))
    paths = {"results": str(results / RESULTS_FILE), "predictions": str(results / PREDICTIONS_FILE)}
    if as_json:
        typer.echo(json.dumps(paths))
        return
    for path in paths.values():
        typer.echo(path)


def report(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The output folder of a study, or its URL.")],
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default: DIR/report.")] = None,
) -> None:
    """Write tables, figures and one page from a study's collected tables."""
    from portal.folder import open_folder

    place = open_folder(folder)
    if out is None and not isinstance(place, Path):
        raise ValueError(f"{folder}: a report is written to a folder of this machine; name it by --out")
    typer.echo(f"report: {_write_report(place, out or Path(folder) / 'report')}")


def _size(num_bytes: float) -> str:
    """For people: `17 MB`, `2.3 GB`."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _load(name: str) -> "Study":
    from sweeps.study import load_study

    return load_study(name)


def find_folder(study: "Study", out: str | None) -> "Folder":
    from portal.folder import open_folder

    return open_folder(out or f"portal-{study.name}")


def _run(study: "Study", out: "Folder", executor: ExecutorName, *, wait: bool = False) -> "Outcome":
    from sweeps.launch import run_study

    threads = len(os.sched_getaffinity(0)) if executor == "local" else 1
    return run_study(study, out, executor=executor, console=progress_console(), threads=threads, wait=wait)


def progress_console() -> "Console":
    """Where progress goes: stderr, so that stdout holds results alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _collect(study: "Study", out: "Folder") -> "Folder":
    """The folder of the freshly collected tables, with what the report needs to know beside them."""
    from portal.folder import local_place, only_one, write_json_atomic
    from sweeps.collect import collect as collect_tables
    from sweeps.store import check_writable

    check_writable(out)
    with only_one(local_place(out) / ".collect.lock"):
        results = collect_tables(study, out)
        write_json_atomic(results / INFO_FILE, _describe(study, out))
        write_json_atomic(results / COLLECTED_FILE, _done_runs(study, out))
    return results


def _is_stale(study: "Study", out: "Folder") -> bool:
    """Whether the collected tables are of another study, or of other runs than are done now."""
    path = out / "results" / COLLECTED_FILE
    return not path.is_file() or json.loads(path.read_bytes()) != _done_runs(study, out)


def _done_runs(study: "Study", out: "Folder") -> dict[str, Any]:
    from sweeps.store import Store

    store = Store(out)
    return {"study": study.name, "runs": sorted(run.key for run in study.runs if store.is_done(run.key))}


def _describe(study: "Study", out: "Folder") -> dict[str, Any]:
    from portal import __version__
    from portal.known_bases import weights_note
    from sweeps.collect import status as count_runs
    from sweeps.provenance import git_state
    from sweeps.store import Store

    store = Store(out)
    absent = [run for run in study.runs if not store.is_done(run.key)]
    failed = {failure["run"]: failure for failure in _failed_runs(study, out)}
    described = [
        {
            "run": run.key,
            "method": run.method,
            "base": "+".join(ref.name for ref in run.bases),
            "size": run.data.size if run.train else None,
            "seed": run.seed,
            "cause": failed.get(run.key, {}).get("cause"),
            "log": failed.get(run.key, {}).get("log"),
        }
        for run in absent
    ]
    facts = {
        "study": study.name,
        "tasks": ", ".join(study.tasks),
        "bases": {ref.name: ref.revision[:12] for run in study.runs for ref in run.bases},
        "seeds": ", ".join(str(seed) for seed in study.settings.seeds),
        "runs": ", ".join(f"{count} {name}" for name, count in count_runs(study, out).items()),
        "data": study.runs[0].data.data_hash[:12],
        "portal": __version__,
        "commit": _commit(git_state()),
    }
    notes = {name: weights_note(name) for name in study.bases}
    return {
        "facts": facts,
        "notes": [f"{name}: {note}." for name, note in notes.items() if note is not None],
        "failed": [run for run in described if run["run"] in failed],
        "missing": [run for run in described if run["run"] not in failed],
    }


def _commit(state: dict[str, Any] | None) -> str:
    """The commit of the code for people; an installed package has none."""
    if state is None:
        return "an installed package"
    return state["commit"][:12] + (" with changes" if state["modified"] else "")


def _failed_runs(study: "Study", out: "Folder") -> list[dict[str, str]]:
    from sweeps.store import Store

    store = Store(out)
    failed = []
    for run in study.runs:
        failure = None if store.is_done(run.key) else store.failure(run.key)
        if failure is not None:
            failed.append(
                {"run": run.key, "name": run.describe(), "cause": failure["cause"], "log": failure["log"]}
            )
    return failed


def _write_report(folder: "Folder", out: Path) -> Path:
    from analysis.report import write_report
    from portal.folder import fetched

    info = _read_info(folder / "results")
    study = info.get("facts", {}).get("study", folder.name)
    with fetched(folder / "results") as results:
        return write_report(results, out, title=f"PorTAL: {study}", info=info)


def _read_info(results: "Folder") -> dict[str, Any]:
    path = results / INFO_FILE
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}); `portal sweep collect` writes it anew"
        ) from None


def _finish(outcome: "Outcome") -> None:
    """Exit 3, every run without a result listed with its cause and log, unless all are done."""
    if not outcome.failures:
        return
    warn(f"{len(outcome.failures)} of {outcome.total} runs have no result:")
    for failure in outcome.failures:
        warn(f"  {failure.name} ({failure.run}): {failure.cause}; log: {failure.log}")
    raise typer.Exit(outcome.exit_code)
