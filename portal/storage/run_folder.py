"""A run's folder, for code that knows of no study: names of its files, its marker, what that protects.

The marker is written last. It holds the sha256 of every file of a finished run, by its path below the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from portal.storage.atomic import write_json_atomic
from portal.storage.paths import Folder

RUN, DONE = "run.json", "DONE.json"


def write_marker(folder: Folder, digests: Mapping[str, str]) -> None:
    """Declare the run in `folder` finished, with its files by sha256."""
    write_json_atomic(folder / DONE, {"files": dict(digests)})


def read_marker(folder: Folder) -> dict[str, str] | None:
    """The sha256 of every file of a finished run, by path below its folder; None where there is no marker."""
    path = folder / DONE
    try:
        marker = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        marker = None
    digests = marker.get("files") if isinstance(marker, dict) else None
    if not isinstance(digests, dict):
        raise ValueError(f"{path}: not a run's marker; delete the folder {folder} and run again")
    return digests


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
