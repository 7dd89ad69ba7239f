"""`portal report`: tables, figures and a page from the runs of a study, or of two, written or served."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli import options
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
    price: options.Price = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Rebuild the report while the study runs, until it ends.")
    ] = False,
    every: Annotated[
        int, typer.Option(metavar="SECONDS", help="Seconds between looks with --watch.", min=1)
    ] = 30,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Like --watch, and serve the report to this machine's browsers until Ctrl-C."
        ),
    ] = False,
    port: Annotated[int, typer.Option(help="Port of --serve. Default: a free one.", min=0, max=65535)] = 0,
) -> None:
    """Write tables, figures and one page from the finished runs of a study, or of two side by side."""
    from portal.storage.paths import open_folder

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
    if serve or watch:
        live = _LiveReport(places[0], into, study, price)
        if serve:
            _serve(live, into, every, port)
        else:
            _watch(live, every)
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
    from sweeps.results.snapshot import RESULTS_FOLDER
    from sweeps.study.manifest import launched_studies

    if not place.is_dir():
        raise ValueError(f"{place}: no such folder")
    if study is None and not launched_studies(place):  # tables that were brought here without their runs
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
    from sweeps.results.snapshot import copy_tables, tables_folder

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
    from sweeps.results.snapshot import collected_study, read_stamp, tables_folder
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

        self.place, self._out, self._price = place, out, price
        self._manifest, self._store = _manifest(place, study), RunStore(place)
        self._shown: object = None
        self.files: frozenset[str] = frozenset()
        """What it has written, by paths in its folder."""

    def show(self, refresh_s: int | None) -> "StudyStatus":
        """Write what is new; `refresh_s` where the page is to load itself anew so often."""
        from analysis.report.write import report_files
        from sweeps.store.study_status import StudyStatus

        status = StudyStatus.read(self._store, self._manifest.runs)
        if status.done and (status.done, status.failed, refresh_s) != self._shown:
            with _collected(self.place, self._manifest, status) as source:
                page = _write([source], self._out, self._price, refresh_s=refresh_s)
            self.files = frozenset((page.name, *report_files(self._out)))
            typer.echo(f"{len(status.done)} of {status.total} runs: {page}")
        elif self._shown is None:
            typer.echo(f"0 of {status.total} runs, nothing to report yet")
        self._shown = status.done, status.failed, refresh_s
        return status


def _watch(live: _LiveReport, every: int) -> None:
    """The report anew whenever runs have finished, until no driver works on the study any more."""
    from sweeps.store.lease import has_live_driver

    try:
        while has_live_driver(live.place):
            live.show(every)
            time.sleep(every)
    finally:  # no page is left behind that says it is live
        status = live.show(None)
    left = status.total - len(status.done)
    if left:
        warn(f"no driver works on this study; {left} of its runs have no result")


def _serve(live: _LiveReport, out: Path, every: int, port: int) -> None:
    """The report anew whenever runs have finished, for browsers of this machine, until Ctrl-C."""
    from sweeps.launch.terminal import termination_interrupts
    from sweeps.store.lease import has_live_driver

    out.mkdir(parents=True, exist_ok=True)
    with ReportServer(out, port, lambda: live.files) as server:
        typer.echo(f"report: {server.address} until Ctrl-C")
        try:
            with suppress(KeyboardInterrupt), termination_interrupts():
                while True:
                    live.show(every if has_live_driver(live.place) else None)
                    time.sleep(every)
        finally:  # no page is left behind that says it is live
            live.show(None)


LOOPBACK = "127.0.0.1"
_INDEX = "index.html"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
_NOTHING_YET = (
    "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=5><title>No run is done yet</title>"
    "<p>No run of this study is done yet. This page loads itself anew."
)


class ReportServer:
    """Serves the folder of a report to the browsers of this machine between `with` and its end.

    It listens on the loopback alone, and serves the files `names`, by their paths in the folder, and nothing
    else that may lie there.
    """

    def __init__(self, folder: Path, port: int, names: Callable[[], Collection[str]]) -> None:
        handler = partial(_Handler, names=names, directory=str(folder))
        try:
            self._server = ThreadingHTTPServer((LOOPBACK, port), handler)
        except OSError as error:
            raise ValueError(
                f"--port {port}: {error.strerror}; choose another, or 0 for a free one"
            ) from None
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, name="report-server", daemon=True)

    def __enter__(self) -> "ReportServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Where the report is."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"


class _Handler(SimpleHTTPRequestHandler):
    """Files of the report, to be read."""

    def __init__(self, *args: Any, names: Callable[[], Collection[str]], directory: str) -> None:
        self._names = names
        super().__init__(*args, directory=directory)

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        name = self.path.partition("?")[0].removeprefix("/") or _INDEX
        if host not in (LOOPBACK, "localhost"):  # a page of another site that was led here
            self._answer(HTTPStatus.FORBIDDEN, f"this server is http://{LOOPBACK} alone", "text/plain")
        elif name == _INDEX and name not in self._names():
            self._answer(HTTPStatus.OK, _NOTHING_YET, "text/html")
        elif self._may_read(name):
            super().do_GET()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_HEAD(self) -> None:
        """Nobody needs it."""
        self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""

    def _may_read(self, name: str) -> bool:
        """Whether it is a file of the report, and no link that leads elsewhere."""
        path = Path(self.directory) / name
        return name in self._names() and path.resolve() == Path(self.directory).resolve() / name

    def _answer(self, status: HTTPStatus, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
