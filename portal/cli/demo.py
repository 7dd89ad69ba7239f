"""`portal demo`: a whole study on the embedded bases, from training to the report."""

import time
from pathlib import Path
from typing import Annotated

import typer

from portal.cli.options import ExecutorOption
from portal.cli.reports import write_one
from portal.cli.sweep.run import finish, launch


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Output folder; the same command continues in it.")
    ] = Path("portal-demo"),
    executor: ExecutorOption = "auto",
) -> None:
    """Run the demo study on the embedded bases: 10 to 22 minutes on two cores, without a download.

    Prints the study's table and writes its report.
    """
    from analysis.report.sentences import summary_table
    from portal.storage.paths import fetched
    from sweeps.results.snapshot import collect_snapshot
    from sweeps.study.expand import load_study

    started = time.monotonic()
    study = load_study("demo", out=out)
    outcome = launch(study, out, executor)
    if outcome.done:
        results = collect_snapshot(study.manifest, out)
        page = write_one(results, out / "report")
        with fetched(results) as tables:
            typer.echo(summary_table(tables))
        typer.echo(f"\n{outcome.done} of {outcome.total} runs in {time.monotonic() - started:.0f} s")
        typer.echo(f"report: {page}")
    finish(outcome)
