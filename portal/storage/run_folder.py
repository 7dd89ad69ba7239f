"""A run's folder, for code that knows of no study: names of its files, its marker, what that protects.

The marker is written last. It holds the sha256 of every file of a finished run, by its path below the folder.
"""

from collections.abc import Mapping
from pathlib import Path

from portal.storage.paths import Folder
from portal.storage.records import Record

RUN, DONE = "run.json", "DONE.json"


class Marker(Record):
    """DONE.json of a finished run."""

    WHAT = "a run's marker"
    REMEDY = "delete the run's folder and run again"

    files: dict[str, str]


def write_marker(folder: Folder, digests: Mapping[str, str]) -> None:
    """Declare the run in `folder` finished, with its files by sha256."""
    Marker(files=dict(digests)).write(folder / DONE)


def read_marker(folder: Folder) -> dict[str, str] | None:
    """The sha256 of every file of a finished run, by path below its folder; None where there is no marker."""
    marker = Marker.read(folder / DONE)
    return None if marker is None else marker.files


def enclosing_run(path: Path) -> Path | None:
    """The run's folder that `path` lies in, links resolved; None for a path elsewhere."""
    parents = path.resolve().parents
    return next((each for each in parents if any((each / name).is_file() for name in (RUN, DONE))), None)


def check_unaltered(folder: Path, digests: Mapping[str, str | None]) -> None:
    """ValueError where files of `folder`, which a finished run has written, are not those of its marker.

    `digests` are the sha256 of the files as they are now, by name; None for a file that is not there. A
    folder outside of a finished run, or one that the run has not written, passes.
    """
    run = enclosing_run(folder)
    recorded = None if run is None else read_marker(run)
    if run is None or recorded is None:
        return
    place = folder.resolve().relative_to(run).as_posix()
    if not any(name.startswith(f"{place}/") for name in recorded):
        return
    for name, digest in digests.items():
        if recorded.get(f"{place}/{name}") != digest:
            raise ValueError(
                f"{folder / name}: altered since the run finished; restore it, or delete {run} and run again"
            )
