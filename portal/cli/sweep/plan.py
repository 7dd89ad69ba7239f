"""`portal sweep plan`: what a study still has to do, and what that is predicted to take."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import completion
from portal.cli.completion import one_of
from portal.cli.options import (
    JsonOption,
    OutOption,
    PriceOption,
    SeedsOption,
    StudyArgument,
    check_at_least_one,
)
from portal.cli.output import print_table, warn
from portal.cli.sweep.run import open_study

if TYPE_CHECKING:
    from portal.config import DeviceKind
    from sweeps.launch.lane_layout import LaneLayout
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
    seed: SeedsOption = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="List every run: label, bases, size, seed, state and key.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a study, and predict the time, memory and disk of what is left to do. Nothing is trained.

    On a CPU each core has a worker, as far as there are packs and memory.
    """
    from portal.device import usable_cores
    from sweeps.launch.lane_plan import read_lane_plan
    from sweeps.launch.resources import workers_on
    from sweeps.planning.checks import check_row_lengths, metric_notes, row_warnings, unchecked_tokenizers
    from sweeps.planning.devices import find_device
    from sweeps.planning.plan_table import division_lines, run_records, state_line, to_json

    loaded, folder = open_study(study, out, seed, outline=True)
    whole = find_device(device or ("cpu" if loaded.settings.device == "cpu" else None))
    check_at_least_one(count=count)
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
        _print_runs(planned)
    if planned.packs:
        _print_predictions(planned, layout, count, workers, price=price, share=share)
    _print_checks(sampled, (*row_warnings(loaded), *unmeasured), unchecked)


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


def _print_runs(planned: "Plan") -> None:
    """Every run of the study, finished or not."""
    from sweeps.planning.plan_table import RUN_HEADERS, run_rows

    print_table(RUN_HEADERS, run_rows(planned))
    typer.echo("")


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
