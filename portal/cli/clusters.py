"""`portal cluster`: files for clusters, and studies as jobs on one that runs."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import typer

from portal.cli import options
from portal.cli.exit_codes import FAILED
from portal.cli.output import check_known, warn

_FILES, _JOBS = "Start a cluster", "Jobs on a running cluster"

cluster = typer.Typer(
    help="Write files for clusters; submit studies to one as jobs, read their logs, stop them."
)

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="URL",
        envvar="RAY_API_SERVER_ADDRESS",
        help="Address of Ray's dashboard, as http://HOST:8265.",
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id that `portal cluster submit` printed.")]


@cluster.command(rich_help_panel=_FILES)
def template(
    kind: Annotated[
        Literal["rayjob", "raycluster", "slurm", "skypilot", "ray-launcher", "dockerfile"],
        typer.Argument(
            metavar="KIND",
            help="Kind of file: rayjob, raycluster, slurm, skypilot, ray-launcher or dockerfile.",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Setting of the file: study, image, nodes, gpus, cpus, memory, gpu_product, accelerator, "
            "claim, out or data. Repeatable.",
        ),
    ] = None,
) -> None:
    """Print a cluster file, to be read, kept and edited."""
    from cluster.render import ClusterSettings, render
    from sweeps.study.catalogue import find_study

    chosen = ClusterSettings(**_values(settings or []))  # type: ignore[arg-type]
    if not chosen.study.endswith((".yaml", ".yml")):
        find_study(chosen.study)
    typer.echo(render(kind, chosen), nl=False)


def _values(settings: list[str]) -> dict[str, str | int]:
    """What `--set` gives, by name; ValueError for an unknown name, and for a number that is none."""
    from cluster.render import ClusterSettings

    known = {field.name: field.type for field in fields(ClusterSettings)}
    values: dict[str, str | int] = {}
    for each in settings:
        name, equals, value = each.partition("=")
        check_known(name, tuple(known), what="setting")
        if not equals:
            raise ValueError(f"--set {each}: give a value as {name}=VALUE")
        if known[name] is int and not value.isdigit():
            raise ValueError(f"--set {each}: not a number")
        values[name] = int(value) if known[name] is int else value
    return values


@cluster.command(rich_help_panel=_JOBS)
def submit(
    study: options.Study,
    address: AddressOption,
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR|URL",
            help="Output folder on the cluster's shared storage, or a URL like s3://bucket/folder.",
        ),
    ],
    executor: options.Executor = "auto",
    gpus: options.Gpus = 0,
    tracker: options.Trackers = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print the job's log until it ends.")] = False,
) -> None:
    """Run a study as a job on a Ray cluster; prints the job's id.

    A study file travels with the job, and so do its task files and their rows, up to 50 MB. With --follow
    the exit code is 3 unless all runs are done.
    """
    from cluster import jobs
    from sweeps.study.bundle import STUDY, bundle_study
    from sweeps.study.catalogue import find_study, shipped_studies

    path = find_study(study)
    files = {} if study in shipped_studies() else bundle_study(path)
    job = jobs.submit(
        address,
        STUDY if files else study,
        files=files,
        out=out,
        executor=executor,
        name=Path(study).stem,
        gpus=gpus,
        trackers=tracker or (),
    )
    typer.echo(job)
    if follow:
        _end(job, jobs.logs(address, job, follow=True, write=_write))


@cluster.command(rich_help_panel=_JOBS)
def logs(
    job: JobArgument,
    address: AddressOption,
    follow: Annotated[bool, typer.Option("--follow", help="Print new lines until the job ends.")] = False,
) -> None:
    """Print a job's log. With --follow the exit code is 3 unless all runs are done."""
    from cluster import jobs

    state = jobs.logs(address, job, follow=follow, write=_write)
    if follow:
        _end(job, state)


@cluster.command(rich_help_panel=_JOBS)
def stop(job: JobArgument, address: AddressOption) -> None:
    """Stop a job. Nothing finished is lost: submitting the study again continues it."""
    from cluster import jobs

    typer.echo(f"{job}: {jobs.stop(address, job).lower()}")


@cluster.command(rich_help_panel=_FILES)
def wait(
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Address of Ray's head node.")],
    nodes: Annotated[int, typer.Option(help="Number of nodes to wait for.")],
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Longest wait.")] = 600.0,
) -> None:
    """Wait until nodes have joined a Ray cluster; exit code 2 if they do not in time."""
    from cluster.jobs import wait_for_nodes

    wait_for_nodes(address, nodes, timeout_s=timeout, say=typer.echo)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _end(job: str, state: str) -> None:
    if state != "SUCCEEDED":
        warn(f"job {job}: {state.lower()}")
        raise typer.Exit(FAILED)
