"""`portal report`: tables, figures and a page from the runs of a study, or of two, or answers to a query."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli.options import JsonOption, PriceOption
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
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Like --watch, and serve the report to this machine's browsers until Ctrl-C: its pages can "
            "then pause, stop and retry runs.",
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve. Default: a free one.", min=0, max=65535)] = 0,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITIONS",
            help="Print mean scores in place of a report: 'method=portal size<=16'. A condition is "
            "COLUMN=VALUE (several with commas, * for anything), or has !=, <, <=, > or >=. Columns are "
            "method, base, task, kind, split, modules, run, size, seed, epoch, rank, score, log_loss and "
            "trained_on.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMNS",
            help="With --query: what scores are gathered by, with commas. Default: method,base,size.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write tables, figures and one page from the finished runs of a study, or of two side by side.

    With --query, print mean scores of the runs and tasks that meet it, and write no report.
    """
    from analysis.stats.query import BY
    from portal.storage.paths import open_folder

    if query is None and (as_json or by is not None):
        raise ValueError("--by and --json are for --query")
    if query is not None:
        if len(folders) != 1 or watch or serve or out is not None or price is not None:
            raise ValueError("--query is about one folder, and goes with --study, --by and --json only")
        with _source(open_folder(folders[0]), study) as source:
            _print_answers(source, query, BY if by is None else by.split(","), as_json=as_json)
        return
    if len(folders) > 2:
        raise ValueError(f"a report is of one study or of two, not of {len(folders)}")
    if len(folders) == 2 and (watch or serve or study is not None):
        raise ValueError("--watch, --serve and --study are for a report of one folder")
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
    if serve:
        _serve(places[0], into, study, price, every, port)
        return
    if watch:
        _watch(places[0], into, study, price, every)
        return
    with ExitStack() as stack:
        sources = [stack.enter_context(_source(place, study)) for place in places]
        typer.echo(f"report: {_write(sources, into, price)}")


def _print_answers(source: "ReportInput", text: str, by: Sequence[str], *, as_json: bool) -> None:
    """The scores that meet the query: aligned columns, or JSON with the keys of their runs."""
    from analysis.stats.findings import load_runs
    from analysis.stats.query import Query
    from analysis.tables.query import query_table

    asked = Query.parse(text, [name.strip() for name in by])
    runs = load_runs(source.results, source.info)
    if not as_json:
        table = query_table(runs, asked)
        typer.echo(table.to_text())
        for reason in table.reasons:
            warn(reason)
        return
    found = asked.answer(runs)
    rows = [
        {
            **dict(zip(asked.by, answer.group, strict=True)),
            "score": answer.score,
            "log_loss": answer.log_loss,
            "tasks": answer.tasks,
            "runs": answer.runs,
        }
        for answer in found.groups
    ]
    told = {"metric": runs.score_name, "by": asked.by, "rows": rows, "left_out": dict(found.left_out)}
    typer.echo(json.dumps(told, indent=2, allow_nan=False))


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

    if not place.is_dir():
        raise ValueError(f"{place}: no such folder")
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
    from sweeps.results.tables import tables_folder

    with TemporaryDirectory(prefix="portal-") as scratch:
        copy_tables(manifest, place, Path(scratch), status)
        tables = tables_folder(place, manifest.name)
        try:
            yield _named(Path(scratch), tables)
        except ValueError as error:  # by the place that the user knows
            raise ValueError(str(error).replace(scratch, str(tables))) from None


def _named(tables: Path, results: "Folder") -> "ReportInput":
    """The tables by the name of their study, or of the folder that they come from."""
    from analysis.report.write import ReportInput
    from portal.results import read_study_info

    info = read_study_info(tables)
    return ReportInput(tables, str(info.facts.get("study") or results.parent.resolve().name), info)


def _manifest(place: "Folder", study: str | None) -> "StudyManifest":
    """The study of that name, or the one launched last, or the one collected first, or the only one.

    Of a launch that has ended it is only where it has left tables.
    """
    from sweeps.results.tables import collected_study, read_stamp, tables_folder
    from sweeps.store.lease import has_live_driver
    from sweeps.study.manifest import launched_study, read_manifest

    launched = launched_study(place)
    if launched and not has_live_driver(place) and not read_stamp(tables_folder(place, launched)):
        launched = None
    return read_manifest(place, study or launched or collected_study(place))


def _write(
    sources: Sequence["ReportInput"], out: Path, price: float | None, *, refresh_s: int | None = None
) -> Path:
    from analysis.report.write import ReportOptions, write_report

    return write_report(sources, out, ReportOptions(price=price, refresh_s=refresh_s))


class _LiveReport:
    """A report that is written anew when runs have finished."""

    def __init__(self, place: "Folder", out: Path, study: str | None, price: float | None) -> None:
        from sweeps.store.run_store import RunStore

        self._place, self._out, self._price = place, out, price
        self.manifest, self._store = _manifest(place, study), RunStore(place)
        self._shown: object = None
        self.files: frozenset[str] = frozenset()
        """What it has written, by paths in its folder."""

    def look(self) -> "StudyStatus":
        from sweeps.store.study_status import StudyStatus

        return StudyStatus.read(self._store, self.manifest.runs)

    def show(self, refresh_s: int | None) -> "StudyStatus":
        """Write what is new; `refresh_s` where the page is to load itself anew so often."""
        from analysis.report.write import report_files

        status = self.look()
        if status.done and (status.done, status.failed, refresh_s) != self._shown:
            with _collected(self._place, self.manifest, status) as source:
                page = _write([source], self._out, self._price, refresh_s=refresh_s)
            self.files = frozenset((page.name, *report_files(self._out)))
            typer.echo(f"{len(status.done)} of {status.total} runs: {page}")
        elif self._shown is None:
            typer.echo(f"0 of {status.total} runs, nothing to report yet")
        self._shown = status.done, status.failed, refresh_s
        return status


def _watch(place: "Folder", out: Path, study: str | None, price: float | None, every: int) -> None:
    """The report anew whenever runs have finished, until no driver works on the study any more."""
    from sweeps.store.lease import has_live_driver

    live = _LiveReport(place, out, study, price)
    try:
        while has_live_driver(place):
            live.show(every)
            time.sleep(every)
    finally:  # no page is left behind that says it is live
        status = live.show(None)
    left = status.total - len(status.done)
    if left:
        warn(f"no driver works on this study; {left} of its runs have no result")


def _serve(place: "Folder", out: Path, study: str | None, price: float | None, every: int, port: int) -> None:
    """The report anew whenever runs have finished, for browsers of this machine, until Ctrl-C."""
    from portal.cli.report_server import ReportServer
    from portal.storage.paths import local_place
    from sweeps.launch.interrupts import termination_interrupts
    from sweeps.store.lease import has_live_driver
    from sweeps.store.run_requests import REQUESTS, RunRequests

    live = _LiveReport(place, out, study, price)

    def act(key: str, word: str) -> str:
        request = next((each for each in REQUESTS if each == word), None)
        if request is None or key not in live.manifest.by_key:
            raise ValueError(
                f"{word!r} of run {key!r}: it is one of {', '.join(REQUESTS)}, of a run of the study"
            )
        if RunRequests(place).ask_or_do([key], request, local_place(place) / "logs"):
            return f"The driver is asked to {request} the run."
        return "Done; no driver works here, so the next launch goes by it."

    out.mkdir(parents=True, exist_ok=True)
    with ReportServer(out, port, lambda: live.files, lambda: live.look().states, act) as server:
        typer.echo(f"report: {server.address_with_token} until Ctrl-C")
        try:
            with suppress(KeyboardInterrupt), termination_interrupts():
                while True:
                    live.show(every if has_live_driver(place) else None)
                    time.sleep(every)
        finally:  # no page is left behind that says it is live
            live.show(None)
