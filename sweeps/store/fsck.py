"""`check_folder`: every digest below an output folder, and whether each name is that of its content."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from portal.bases.files import hub_weights_digest, locate
from portal.config import BaseRef
from portal.data.token_cache import check_cache
from portal.messages import one_line
from portal.results import QUESTIONS, RUN_TABLES, SCHEMAS, read_table
from portal.storage.checkpoint import check_checkpoints
from portal.storage.paths import Folder, file_sha256, files_below, matching
from portal.storage.records import DONE
from sweeps.store.output_folder import BaseRecords
from sweeps.store.questions import QUESTIONS_FOLDER
from sweeps.store.run_store import PackStore, RunStore, pack_key


@dataclass(frozen=True)
class Fault:
    """A path that does not hold what it should, why, and what to do about it."""

    path: Folder
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


def check_folder(out: Folder) -> tuple[list[Fault], int]:
    """(faults, number of things checked): runs, packs, token caches, collected tables, frozen bases.

    Nothing is changed. ValueError when `out` is no output folder.
    """
    if not (out / "runs").is_dir():
        raise ValueError(f"{out}: no study was run in this folder")
    store, packs = RunStore(out), PackStore(out)
    parts = (
        *(_check_run(store, path) for path in matching(out, "runs/*")),
        *(_check_pack(packs, path) for path in matching(out, "packs/*")),
        *(
            _refused(path, "delete it: the rows are prepared again", partial(check_cache, path))
            for path in matching(out, "rows/*")
        ),
        *(
            _refused(path, "delete it: the next launch writes it anew", partial(read_table, path, QUESTIONS))
            for path in matching(out, f"{QUESTIONS_FOLDER}/*.parquet")
        ),
        *(_check_tables(folder, out) for folder in _tables_of(out)),
        *(_check_base(BaseRecords(out), ref) for ref in _bases_of(store)),
    )
    return [fault for faults in parts for fault in faults], len(parts)


def _check_run(store: RunStore, folder: Folder) -> Iterator[Fault]:
    again = f"delete {folder} and give the same command again"
    try:
        store.read_run(folder.name)
        store.failure(folder.name)
        digests = store.digests(folder.name)
    except (ValueError, AssertionError) as error:
        yield Fault(folder, one_line(error), again)
        return
    if digests is None:
        return  # not finished: nothing is promised yet
    present = set(files_below(folder)) - {DONE}
    for name in sorted(present - set(digests)):
        yield Fault(folder / name, "not written by the run", "delete it")
    for name, digest in digests.items():
        if name not in present:
            yield Fault(folder / name, "missing", again)
        elif file_sha256(folder / name) != digest:
            yield Fault(folder / name, "altered since the run finished", again)


def _check_pack(store: PackStore, folder: Folder) -> Iterator[Fault]:
    again = f"delete {folder}: its unfinished runs start again"
    try:
        members = store.recorded_pack(folder.name)
    except (ValueError, AssertionError) as error:
        yield Fault(folder, one_line(error), again)
        return
    if members is None or pack_key(members) != folder.name:
        yield Fault(folder, "does not name the runs that its name stands for", again)
    for path, reason in check_checkpoints(folder / "state"):
        yield Fault(path, reason, "the checkpoint before it is used instead; delete it")
    for name, schema in RUN_TABLES.items():
        for part in matching(folder, f"parts/*/*.{name}"):
            yield from _refused(part, again, partial(read_table, part, schema))


def _refused(path: Folder, remedy: str, read: Callable[[], object]) -> Iterator[Fault]:
    """The fault of a path that `read` refuses."""
    try:
        read()
    except (ValueError, OSError) as error:
        yield Fault(path, one_line(error), remedy)


def _tables_of(out: Folder) -> list[Folder]:
    """The folders of the first study's tables and of its parts, and in these those of further studies."""
    first = matching(out, "results*")
    return [*first, *(path for path in matching(out, "results*/*") if path.is_dir())]


def _check_tables(folder: Folder, out: Folder) -> Iterator[Fault]:
    whole = folder.name if folder.parent == out else folder.parent.name
    again = "collect" if whole == "results" else f"run STUDY --seed {whole.removeprefix('results-seed-')}"
    for name, schema in SCHEMAS.items():
        path = folder / name
        if path.exists():
            yield from _refused(
                path, f"`portal sweep {again}` writes it anew", partial(read_table, path, schema)
            )


def _bases_of(store: RunStore) -> list[BaseRef]:
    """Bases of all recorded runs that can be read."""
    refs = {}
    for path in matching(store.out, "runs/*"):
        try:
            run = store.read_run(path.name)
        except (ValueError, AssertionError):
            continue
        refs.update({(ref.name, ref.revision): ref for ref in run.bases})
    return list(refs.values())


def _check_base(records: BaseRecords, ref: BaseRef) -> Iterator[Fault]:
    """A local base against its revision, a hub base's cached copy against the study's record."""
    try:
        files = locate(ref.name)
        if files.is_local:
            if files.revision() != ref.revision:
                yield Fault(
                    Path(files.location),
                    f"base {ref.name!r} is not the one the runs were made with",
                    "restore it, or start in another --out",
                )
            return
        recorded = records.recorded(ref)
        if recorded is not None and hub_weights_digest(ref.name, ref.revision) != recorded:
            yield Fault(
                Path(files.location),
                f"base {ref.name!r}: its copy in the hub's cache is damaged",
                "delete it, and it is fetched anew",
            )
    except (ValueError, OSError, json.JSONDecodeError) as error:
        yield Fault(Path(ref.name), one_line(error), "the base cannot be checked here")
