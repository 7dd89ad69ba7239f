"""What keeps an output folder in order: `portal sweep schema|retry|cancel|fsck|gc`."""

import json
from typing import Annotated

import typer

from portal.cli.output import print_table, warn
from portal.cli.studies import Executor, Json, Out, StudyName, complete, find_folder, sweep

EXIT_FAULTS = 3

FolderName = Annotated[str, typer.Argument(metavar="DIR", help="The output folder of a study, or its URL.")]


@sweep.command()
def schema() -> None:
    """Print the JSON schema of study files, for editors that complete and check them."""
    from sweeps.study.study_file import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@sweep.command()
def retry(
    study: StudyName,
    runs: Annotated[list[str] | None, typer.Argument(metavar="[RUN]...", help="Keys of failed runs.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed runs of the study.")] = False,
    out: Out = None,
    executor: Executor = "auto",
    as_json: Json = False,
) -> None:
    """Forget that runs failed and run the study: they go on from their last good state."""
    from sweeps.store.lease import acquire
    from sweeps.store.run_store import Store
    from sweeps.study.expand import load_study

    loaded = load_study(study)
    folder = find_folder(loaded, out)
    store = Store(folder)
    known = [run.key for run in loaded.runs if store.failure(run.key) is not None]
    if not runs and not failed:
        raise ValueError(
            f"name failed runs, or all of them by --failed; failed: {', '.join(known) or 'none'}"
        )
    for key in runs or []:
        if key not in known:
            raise ValueError(f"run {key!r} has not failed here; failed: {', '.join(known) or 'none'}")
    with acquire(folder):
        store.forget_failed(known if failed else runs or [])
    complete(loaded, folder, executor, as_json=as_json)


@sweep.command()
def cancel(folder: FolderName) -> None:
    """Stop the driver that works on DIR, wherever it runs; nothing finished is lost."""
    from portal.storage.paths import open_folder
    from sweeps.store.lease import request_cancel

    holder = request_cancel(open_folder(folder))
    if holder is None:
        typer.echo(f"{folder}: no driver works here")
    else:
        typer.echo(
            f"stopped process {holder['pid']} on {holder['host']}; `portal sweep run` continues the study"
        )


@sweep.command()
def fsck(folder: FolderName, as_json: Json = False) -> None:
    """Check every digest in DIR and of the bases its runs were made with; exit 3 when something is wrong."""
    from portal.storage.paths import open_folder
    from sweeps.store.fsck import check_folder

    faults, count = check_folder(open_folder(folder))
    if as_json:
        listed = [{"path": str(each.path), "what": each.what, "remedy": each.remedy} for each in faults]
        typer.echo(json.dumps({"checked": count, "faults": listed}))
    else:
        for fault in faults:
            warn(str(fault))
        typer.echo(f"{folder}: {count} runs, packs, caches, tables and bases checked, {len(faults)} faults")
    if faults:
        raise typer.Exit(EXIT_FAULTS)


@sweep.command()
def gc(
    folder: FolderName,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without, it is only listed.")] = False,
    as_json: Json = False,
) -> None:
    """List what DIR no longer needs: optimiser states of finished runs, leftovers of killed processes."""
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
    if garbage:
        lines = [
            (str(each.path).removeprefix(f"{place}/"), f"{each.num_bytes / 2**20:.1f}", each.why)
            for each in garbage
        ]
        print_table(("path", "MiB", "why"), lines)
    done = "deleted" if delete else "can go; --delete deletes it"
    typer.echo(
        f"{folder}: {total / 2**20:.1f} MiB in {len(garbage)} places {done}"
        if garbage
        else f"{folder}: nothing to delete"
    )
