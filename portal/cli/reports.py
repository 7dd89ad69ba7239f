"""`portal report`: tables, figures and a page from the runs of a study, or of two side by side."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from portal.cli.output import warn

if TYPE_CHECKING:
    from analysis.report import Source
    from portal.folder import Folder
    from sweeps.roster import Roster


def report(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR [DIR]", help="The output folder of a study, or its URL; two to compare."),
    ],
    out: Annotated[Path | None, typer.Option(help="Where the report goes; default: DIR/report.")] = None,
    study: Annotated[
        str | None, typer.Option(help="Which study of a folder that several were launched in.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="Of one device for an hour, in your currency.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Make it anew while the study runs, until it ends.")
    ] = False,
    every: Annotated[int, typer.Option(help="Seconds between looks with --watch.", min=1)] = 30,
) -> None:
    """Write tables, figures and one page from what is finished of a study; or of two, side by side."""
    from portal.folder import open_folder

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
    typer.echo(f"report: {_write([_tables(place, study) for place in places], into, price)}")


def write_one(results: "Folder", out: Path) -> Path:
    """The report of freshly collected tables; the page's path."""
    return _write([results], out, None)


def read_info(results: "Folder") -> dict[str, Any]:
    """What the collected tables do not say of their study."""
    from sweeps.collection import INFO_FILE

    path = results / INFO_FILE
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}); `portal sweep collect` writes it anew"
        ) from None


def _tables(place: "Folder", study: str | None) -> "Folder":
    """The folder of collected tables, collected now if anything is new."""
    from sweeps.collection import RESULTS_FOLDER, gather, is_stale
    from sweeps.roster import has_roster

    if study is None and not has_roster(place):  # tables that were brought here without their runs
        return place / RESULTS_FOLDER
    roster = _roster(place, study)
    return gather(roster, place) if is_stale(roster, place) else place / RESULTS_FOLDER


def _roster(place: "Folder", study: str | None) -> "Roster":
    """The study of that name, or the one that was collected last, or the only one."""
    from sweeps.collection import collected_study
    from sweeps.roster import read_roster

    return read_roster(place, study or collected_study(place))


def _write(
    tables: Sequence["Folder"], out: Path, price: float | None, *, refresh_s: int | None = None
) -> Path:
    from analysis.report import write_report

    with ExitStack() as stack:
        sources = [stack.enter_context(_source(each)) for each in tables]
        names = " and ".join(dict.fromkeys(source.name for source in sources))
        return write_report(sources, out, title=f"PorTAL: {names}", price=price, refresh_s=refresh_s)


@contextmanager
def _source(results: "Folder") -> Iterator["Source"]:
    from analysis.report import Source
    from portal.folder import fetched

    info = read_info(results)
    with fetched(results) as folder:
        name = info.get("facts", {}).get("study") or results.parent.resolve().name
        yield Source(folder, str(name), info)


def _watch(place: "Folder", out: Path, study: str | None, price: float | None, every: int) -> None:
    """The report anew whenever something is new, until no driver works on the study any more."""
    from sweeps.collect import status
    from sweeps.collection import is_stale
    from sweeps.lease import has_live_driver

    shown: int | None = None
    try:
        while has_live_driver(place):
            roster = _roster(place, study)
            counts = status(roster, place)
            if counts["done"] and (shown is None or is_stale(roster, place)):
                page = _write([_tables(place, study)], out, price, refresh_s=every)
                typer.echo(f"{counts['done']} of {counts['total']} runs: {page}")
            elif shown is None:
                typer.echo(f"0 of {counts['total']} runs, nothing to report yet")
            shown = counts["done"]
            time.sleep(every)
    finally:  # no page is left behind that says it is live
        counts = status(_roster(place, study), place)
        if counts["done"]:
            page = _write([_tables(place, study)], out, price)
            typer.echo(f"{counts['done']} of {counts['total']} runs: {page}")
    left = counts["total"] - counts["done"]
    if left:
        warn(f"no driver works on this study; {left} of its runs have no result")
