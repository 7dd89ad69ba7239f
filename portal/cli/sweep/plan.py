"""`portal sweep plan`: what a study still has to do, and what that is predicted to take."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import completion
from portal.cli.completion import one_of
from portal.cli.options import JsonOption, OutOption, PriceOption, StudyArgument, check_at_least_one
from portal.cli.output import print_table, warn
from portal.cli.sweep.run import find_folder

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan


def plan(
    study: StudyArgument,
    out: OutOption = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="b200|h200|h100|a100|cpu",
            help="Device to predict for. Default: what this machine has.",
            autocompletion=one_of(completion.planned_devices),
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of such devices.")] = 1,
    price: PriceOption = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="List every run: label, bases, size, seed, state and key.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a study, and predict the time, memory and disk of what is left to do. Nothing is trained."""
    from sweeps.planning.devices import find_device
    from sweeps.planning.plan import plan_study, unchecked_tokenizers
    from sweeps.planning.run_table import run_records
    from sweeps.planning.study_rows import check_row_lengths, size_warnings
    from sweeps.study.expand import load_study

    whole = find_device(device)
    loaded = load_study(study)
    check_at_least_one(count=count)
    share = loaded.settings.gpus_per_worker if whole.is_gpu else 1.0
    workers = count * int(1 / share)
    folder = find_folder(loaded, out)
    planned = plan_study(loaded, folder, device=whole.part(share), lanes=workers)
    unchecked = unchecked_tokenizers(planned)
    sampled = check_row_lengths(loaded, folder, planned.bases, is_offline=bool(unchecked))
    if as_json:
        more = {"runs": run_records(planned), "tokenizers_not_checked": unchecked}
        typer.echo(json.dumps(planned.to_json() | more))
        return
    _print_state(planned)
    if runs:
        _print_runs(planned)
    if planned.packs:
        _print_packs(planned)
        makespan_s = _print_time(planned, count, workers)
        if price is not None:
            _print_cost(planned, price, share, count * makespan_s / 3600)
        _warn_of_memory(planned)
    _print_checks(sampled, size_warnings(loaded), unchecked)


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


def _print_state(planned: "Plan") -> None:
    study = planned.study
    counts = {"done": planned.done, "failed": planned.failed, "missing": planned.missing}
    summary = ", ".join(f"{len(runs)} {name}" for name, runs in counts.items())
    typer.echo(f"study {study.name}: {len(study.runs)} runs, {len(study.tasks)} tasks; {summary}")


def _print_runs(planned: "Plan") -> None:
    """Every run of the study, finished or not."""
    from sweeps.planning.run_table import RUN_HEADERS, run_rows

    print_table(RUN_HEADERS, run_rows(planned))
    typer.echo("")


def _print_packs(planned: "Plan") -> None:
    """Every pack and every stage with its predictions."""
    from sweeps.planning.plan import PLAN_HEADERS, STAGE_HEADERS

    print_table(PLAN_HEADERS, planned.rows())
    typer.echo("")
    print_table(STAGE_HEADERS, planned.stage_rows())


def _print_time(planned: "Plan", count: int, workers: int) -> float:
    """Print device time, time from start to end, disk and executor; returns the seconds from start to end."""
    from sweeps.launch.lane_layout import choose_executor, lay_out
    from sweeps.planning.cost_model import duration

    assert planned.device is not None
    packed, alone = (duration(hours) for hours in planned.totals())
    typer.echo(
        f"predicted for {planned.device.name}, one device: {packed} as packed, {alone} unpacked "
        "(every run in a process of its own, every task's LoRA after another)"
    )
    bases = [len(pack.bases) for pack in planned.packs]
    layout = lay_out(bases, (workers,), planned.how.workers_per_pack)
    schedule = planned.schedule(workers if layout.singles else layout.count)
    if workers > 1:
        shared = f", {workers // count} workers on each" if workers > count else ""
        typer.echo(
            f"on {count} devices{shared}: {duration(schedule.makespan / 3600)} from start to end, "
            f"{schedule.makespan / schedule.lower_bound:.2f} times the least possible"
        )
    kept, needed = planned.bytes_written(workers)
    typer.echo(f"in the output folder: {_size(kept)} in the end, and up to {_size(needed)} while it runs")
    typer.echo(f"executor auto: {choose_executor('auto', planned.lane_seconds(workers))}")
    return schedule.makespan


def _print_cost(planned: "Plan", price: float, share: float, held_hours: float) -> None:
    work = share * planned.totals()[0]
    typer.echo(
        f"cost at {price:g} per device-hour: {price * work:.2f} for the work, "
        f"{price * held_hours:.2f} with the devices held from start to end"
    )


def _warn_of_memory(planned: "Plan") -> None:
    """Name the packs that may not fit the device."""
    assert planned.device is not None
    over = [
        pack.key
        for pack, each in zip(planned.packs, planned.forecasts, strict=True)
        if each.memory_bytes > planned.device.budget_bytes
    ]
    if over:
        warn(f"{len(over)} pack(s) may not fit {planned.device.name}: {', '.join(over)}")


def _size(num_bytes: float) -> str:
    """For people: `17 MB`, `2.3 GB`."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"
