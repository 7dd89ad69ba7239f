"""`portal sweep status|collect`: how far a study is, and its tables."""

import json

import typer

from portal.cli.options import JsonOption, OutOption, SeedsOption, StudyArgument
from portal.cli.sweep.run import open_study


def status(
    study: StudyArgument, out: OutOption = None, seed: SeedsOption = None, as_json: JsonOption = False
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


def collect(
    study: StudyArgument, out: OutOption = None, seed: SeedsOption = None, as_json: JsonOption = False
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
    for path in paths.values():
        typer.echo(path)
