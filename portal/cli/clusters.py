"""`portal cluster`: files for clusters, and studies as jobs on one that runs."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from portal.cli.output import warn
from portal.cli.studies import ExecutorName, Trackers

EXIT_FAILED = 3

cluster = typer.Typer(
    help="Clusters: write their files, submit a study to one, read its log, stop it.", rich_markup_mode=None
)

Address = Annotated[
    str,
    typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The dashboard, as http://HOST:8265."),
]
Job = Annotated[str, typer.Argument(metavar="JOB", help="The id that `submit` printed.")]


@cluster.command()
def template(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="rayjob, raycluster, slurm, skypilot, ray-launcher, dockerfile."),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="study, image, nodes, gpus, cpus, memory, claim, out, data, ...",
        ),
    ] = None,
) -> None:
    """Print a cluster file, to be read, kept and edited."""
    from cluster.render import KINDS, ClusterSettings, render
    from portal.config import nearest

    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}{nearest(kind, KINDS)}")
    known = {field.name: field.type for field in fields(ClusterSettings)}
    values: dict[str, str | int] = {}
    for each in settings or []:
        name, equals, value = each.partition("=")
        if name not in known:
            raise ValueError(f"--set {each}: unknown name{nearest(name, known)}")
        if not equals:
            raise ValueError(f"--set {each}: give a value as {name}=VALUE")
        if known[name] is int and not value.isdigit():
            raise ValueError(f"--set {each}: not a number")
        values[name] = int(value) if known[name] is int else value
    typer.echo(render(kind, ClusterSettings(**values)), nl=False)  # type: ignore[arg-type]


@cluster.command()
def submit(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A shipped study, or a YAML file, which is sent along.")
    ],
    address: Address,
    out: Annotated[str, typer.Option(help="Output folder on the cluster's shared storage.")],
    executor: Annotated[ExecutorName, typer.Option(help="As of `portal sweep run`.")] = "auto",
    tracker: Trackers = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print the job's log until it ends.")] = False,
) -> None:
    """Run a study as a job on a Ray cluster; prints the job's id."""
    from cluster import jobs
    from sweeps.study.expand import load_study

    if Path(study).is_file():
        load_study(study)  # a mistake is found here, not there
    name, trackers = Path(study).stem, tracker or ()
    job = jobs.submit(address, study, out=out, executor=executor, name=name, trackers=trackers)
    typer.echo(job)
    if follow:
        _end(job, jobs.logs(address, job, follow=True, write=_write))


@cluster.command()
def logs(
    job: Job,
    address: Address,
    follow: Annotated[bool, typer.Option("--follow", help="Until the job ends.")] = False,
) -> None:
    """Print a job's log; with --follow exit 3 unless all runs are done."""
    from cluster import jobs

    state = jobs.logs(address, job, follow=follow, write=_write)
    if follow:
        _end(job, state)


@cluster.command()
def stop(job: Job, address: Address) -> None:
    """Stop a job; nothing finished is lost, and submitting the study again continues it."""
    from cluster import jobs

    typer.echo(f"{job}: {jobs.stop(address, job).lower()}")


@cluster.command()
def wait(
    address: Annotated[str, typer.Option(help="The cluster, as HOST:PORT.")],
    nodes: Annotated[int, typer.Option(help="How many nodes it shall have.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait.")] = 600.0,
) -> None:
    """Wait until all nodes have joined a Ray cluster."""
    from cluster.jobs import wait_for_nodes

    wait_for_nodes(address, nodes, timeout_s=timeout, say=typer.echo)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _end(job: str, state: str) -> None:
    if state != "SUCCEEDED":
        warn(f"job {job}: {state.lower()}")
        raise typer.Exit(EXIT_FAILED)
