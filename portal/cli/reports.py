"""`portal report`: tables, figures and a page from the runs of a study, or of two side by side."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.options import PriceOption
from portal.cli.output import warn

if TYPE_CHECKING:
    from analysis.report.write import ReportInput
    from portal.storage.paths import Folder
    from sweeps.store.study_status import StudyStatus
    from sweeps.study.manifest import StudyManifest


def report(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR", help="Output folder of a study, or its URL; two of them are compared."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the report. Default: DIR/report.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(metavar="NAME", help="Study to report when DIR holds several.")
    ] = None,
    price: PriceOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Rebuild the report while the study runs, until it ends.")
    ] = False,
    every: Annotated[
        int, typer.Option(metavar="SECONDS", help="Seconds between looks with --watch.", min=1)
    ] = 30,
) -> None:
    """Write tables, figures and one page from the finished runs of a study, or of two side by side."""
    from portal.storage.paths import open_folder

    if len(folders) > 2:
        raise ValueError(f"a report is of one study or of two, not of {len(folders)}")
    if len(folders) == 2 and (watch or study is not None):
        raise ValueError("--watch and --study are for a report of one folder")
    if price is not None and price < 0:
        raise ValueError(f"--price {price:g} is below 0")
    places = [open_folder(folder) for folder in folders]
    if len(places) == 2 and str(places[0].resolve()) == str(places[1].resolve()):
        raise ValueError(f"{folders[0]}: the same folder twice; two studies lie in folders of their own")
    if out is None and (len(places) == 2 or not isinstance(places[0], Path)):
        raise ValueError(
            "a report of two studies, or of a store, is written to a folder of its own: name it by --out"
        )
    into = out or Path(folders[0]) / "report"
    if watch:
        _watch(places[0], into, study, price, every)
        return
    with ExitStack() as stack:
        sources = [stack.enter_context(_source(place, study)) for place in places]
        typer.echo(f"report: {_write(sources, into, price)}")


def write_one(results: "Folder", out: Path) -> Path:
    """The report of freshly collected tables; the page's path."""
    from portal.storage.paths import fetched

    with fetched(results) as tables:
        return _write([_named(tables, results)], out, None)


@contextmanager
def _source(place: "Folder", study: str | None) -> Iterator["ReportInput"]:
    """The tables of the study as it stands, until the block ends."""
    from portal.storage.paths import fetched
    from sweeps.results.tables import RESULTS_FOLDER
    from sweeps.study.manifest import has_manifest

    if study is None and not has_manifest(place):  # tables that were brought here without their runs
        with fetched(place / RESULTS_FOLDER) as tables:
            yield _named(tables, place / RESULTS_FOLDER)
        return
    with _collected(place, _manifest(place, study)) as source:
        yield source


@contextmanager
def _collected(
    place: "Folder", manifest: "StudyManifest", status: "StudyStatus | None" = None
) -> Iterator["ReportInput"]:
    """Copies of the study's tables as of `status`, or of this moment, until the block ends."""
    from sweeps.results.snapshot import copy_tables
    from sweeps.results.tables import RESULTS_FOLDER

    with TemporaryDirectory(prefix="portal-") as scratch:
        copy_tables(manifest, place, Path(scratch), status)
        try:
            yield _named(Path(scratch), place / RESULTS_FOLDER)
        except ValueError as error:  # by the place that the user knows
            raise ValueError(str(error).replace(scratch, str(place / RESULTS_FOLDER))) from None


def _named(tables: Path, results: "Folder") -> "ReportInput":
    """The tables by the name of their study, or of the folder that they come from."""
    from analysis.report.write import ReportInput
    from portal.results import read_study_info

    info = read_study_info(tables)
    return ReportInput(tables, str(info.facts.get("study") or results.parent.resolve().name), info)


def _manifest(place: "Folder", study: str | None) -> "StudyManifest":
    """The study of that name, or the one at work, or the one that was collected last, or the only one."""
    from sweeps.results.snapshot import collected_study
    from sweeps.store.lease import has_live_driver
    from sweeps.study.manifest import launched_study, read_manifest

    at_work = launched_study(place) if has_live_driver(place) else None
    return read_manifest(place, study or at_work or collected_study(place))


def _write(
    sources: Sequence["ReportInput"], out: Path, price: float | None, *, refresh_s: int | None = None
) -> Path:
    from analysis.report.write import ReportOptions, write_report

    return write_report(sources, out, ReportOptions(price=price, refresh_s=refresh_s))


def _watch(place: "Folder", out: Path, study: str | None, price: float | None, every: int) -> None:
    """The report anew whenever runs have finished, until no driver works on the study any more."""
    from sweeps.store.lease import has_live_driver
    from sweeps.store.run_store import RunStore
    from sweeps.store.study_status import StudyStatus

    manifest = _manifest(place, study)
    shown = None

    def look() -> "StudyStatus":
        return StudyStatus.read(RunStore(place), manifest.runs)

    def write(status: "StudyStatus", refresh_s: int | None) -> None:
        with _collected(place, manifest, status) as source:
            page = _write([source], out, price, refresh_s=refresh_s)
        typer.echo(f"{len(status.done)} of {status.total} runs: {page}")

    try:
        while has_live_driver(place):
            status = look()
            if status.done and (status.done, status.failed) != shown:
                write(status, every)
            elif shown is None:
                typer.echo(f"0 of {status.total} runs, nothing to report yet")
            shown = status.done, status.failed
            time.sleep(every)
    finally:  # no page is left behind that says it is live
        status = look()
        if status.done:
            write(status, None)
    left = status.total - len(status.done)
    if left:
        warn(f"no driver works on this study; {left} of its runs have no result")
