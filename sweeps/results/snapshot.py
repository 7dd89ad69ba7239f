"""A study's tables, those of its single runs, and its record: of one moment, made when something is new."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from portal.bases.registry import weights_note
from portal.config import RunConfig
from portal.results import (
    GENERATIONS_FILE,
    LATENTS_FILE,
    LOSSES,
    LOSSES_FILE,
    PREDICTIONS_FILE,
    QUESTIONS,
    QUESTIONS_FILE,
    RESULTS,
    RESULTS_FILE,
    RUNS,
    RUNS_FILE,
    SCHEMA_VERSION,
    SCHEMAS,
    STUDY_FILE,
    AbsentRun,
    Fact,
    RunDetail,
    StudyInfo,
    read_table,
    run_columns,
    tasks_by_kind,
    write_table,
)
from portal.search_record import SEARCH_FILE, SearchRecord, read_search
from portal.storage.atomic import only_one, write_bytes_atomic, write_json_atomic
from portal.storage.paths import Folder, files_below, local_place
from portal.train_config import TrainConfig
from sweeps.store.output_folder import SEARCH_FOLDER, check_writable
from sweeps.store.provenance import describe_code
from sweeps.store.questions import questions_path
from sweeps.store.run_store import Circumstances, PackStore, RunStore
from sweeps.store.study_status import RunState, StudyStatus
from sweeps.study.manifest import StudyManifest, record_manifest

RESULTS_FOLDER = "results"
COLLECTED_FILE = "collected.json"
"""Beside the tables, written last: which runs they hold and which had failed."""
_ORDER = {
    RESULTS_FILE: ("method", "base", "size", "seed", "run", "task", "epoch", "split"),
    PREDICTIONS_FILE: ("run", "task", "epoch", "split", "example"),
    GENERATIONS_FILE: ("run", "task", "epoch", "split", "example", "base"),
    LATENTS_FILE: ("run", "task"),
}


def tables_folder(out: Folder, study: str) -> Folder:
    """Where the study's tables lie: in `results`, which is the first one's, or in a folder named like it."""
    first = collected_study(out)
    return out / RESULTS_FOLDER if first in (None, study) else out / RESULTS_FOLDER / study


def collected_study(out: Folder) -> str | None:
    """The name of the study that was collected first: its tables lie in `results` itself."""
    name = read_stamp(out / RESULTS_FOLDER).get("study")
    return name if isinstance(name, str) else None


def read_stamp(folder: Folder) -> dict[str, Any]:
    """The stamp of the tables' last collection; empty where none can be read: they are made anew."""
    try:
        stamp = json.loads((folder / COLLECTED_FILE).read_bytes())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def table_files(folder: Folder) -> dict[str, Folder]:
    """The tables and records of one study by name, without the folders of other studies beside them."""
    return {name: path for name, path in files_below(folder).items() if "/" not in name}


def collect(study: StudyManifest, out: Folder, done: Collection[str] | None = None) -> Folder:
    """The folder with the study's tables, freshly written from its finished runs.

    Those are the runs with keys in `done`; by default, all that are done now. Rows are sorted, so that the
    same runs give the same tables in whatever order they were trained.
    """
    store = RunStore(out)
    keys = StudyStatus.read(store, study.runs).done if done is None else done
    finished = [run for run in study.runs if run.key in keys]
    if not finished:
        raise ValueError(
            f"{out}: no finished run of study {study.name!r} here; `portal sweep run` makes them"
        )
    for run in finished:
        store.verify(run.key, (RESULTS_FILE, PREDICTIONS_FILE))
    results = _joined(store, finished, RESULTS_FILE)
    best = {run.key: _keeps_best(run, study) for run in finished}
    own: dict[str, Mapping[str, Any]] = {"label": study.labels, "keeps_best": best}
    own["study"] = dict.fromkeys(best, study.name)
    for column, by_run in own.items():  # which only the study knows: a run may be in several
        place, field = results.schema.get_field_index(column), RESULTS.field(column)
        values = pa.array([by_run[key] for key in results["run"].to_pylist()], field.type)
        results = results.set_column(place, field, values)
    folder = tables_folder(out, study.name)
    _write_sorted(results.cast(RESULTS), folder / RESULTS_FILE)
    _write_sorted(_joined(store, finished, PREDICTIONS_FILE), folder / PREDICTIONS_FILE)
    _write_where_left(store, finished, folder / LATENTS_FILE)
    _write_where_left(store, finished, folder / GENERATIONS_FILE)
    return folder


def _write_where_left(store: RunStore, runs: Sequence[RunConfig], path: Folder) -> None:
    """The table of the runs that have left one of this name; no file where none has."""
    having = [run for run in runs if path.name in (store.digests(run.key) or {})]
    if not having:
        path.unlink(missing_ok=True)
        return
    for run in having:
        store.verify(run.key, (path.name,))
    _write_sorted(_joined(store, having, path.name), path)


def _keeps_best(run: RunConfig, study: StudyManifest) -> bool | None:
    """Whether validation rows chose the epoch of the run's artifact, or of the port that it shows."""
    while run.train is None and run.spec.takes_calibrated and run.source in study.by_key:
        run = study.by_key[run.source]
    return None if run.train is None else run.train.keep == "best_validation"


def _joined(store: RunStore, runs: Sequence[RunConfig], name: str) -> pa.Table:
    return pa.concat_tables([read_table(store.run_folder(run.key) / name, SCHEMAS[name]) for run in runs])


def _write_sorted(table: pa.Table, path: Folder) -> None:
    """Write the rows sorted and in one chunk, so that equal rows make equal files."""
    order = pc.sort_indices(table, sort_keys=[(column, "ascending") for column in _ORDER[path.name]])
    write_table(table.take(order).combine_chunks(), path)


MOST_LOG_LINES = 30
_PACK = re.compile(r" pack ([0-9a-f]{16}): \d+ runs$")


def write_run_details(study: StudyManifest, out: Folder, status: StudyStatus, results: Folder) -> None:
    """Write the tables of the study's runs beside its collected tables in `results`.

    Runs of earlier versions have left no losses, and folders of theirs no questions: these tables are then
    without them, or are not there.
    """
    store = RunStore(out)
    logs, states = _Logs(out), status.states
    details = [
        _detail(run, study.labels[run.key], states[run.key], store, status, logs) for run in study.runs
    ]
    write_table(pa.Table.from_pylist([each.row() for each in details], schema=RUNS), results / RUNS_FILE)
    losses = [_losses(run.key, store) for run in study.runs]
    _write_unless_empty(pa.concat_tables([LOSSES.empty_table(), *losses]), results / LOSSES_FILE)
    paths = [questions_path(out, each) for each in dict.fromkeys(run.data.data_hash for run in study.runs)]
    known = [read_table(path, QUESTIONS) for path in paths if path.is_file()]
    questions = pa.concat_tables([QUESTIONS.empty_table(), *known])
    is_own = pc.is_in(questions["task"], value_set=pa.array(study.tasks, pa.string()))
    _write_unless_empty(questions.filter(is_own), results / QUESTIONS_FILE)


def _write_unless_empty(table: pa.Table, path: Folder) -> None:
    if table.num_rows:
        write_table(table.combine_chunks(), path)
    else:
        path.unlink(missing_ok=True)


def _losses(key: str, store: RunStore) -> pa.Table:
    """What the run's folder has of them; a failed run leaves them, too."""
    path = store.run_folder(key) / LOSSES_FILE
    if not path.is_file():
        return LOSSES.empty_table()
    if LOSSES_FILE in (store.digests(key) or {}):
        store.verify(key, (LOSSES_FILE,))
    return read_table(path, LOSSES)


def _detail(
    run: RunConfig, label: str, state: RunState, store: RunStore, status: StudyStatus, logs: "_Logs"
) -> RunDetail:
    known, why, own = store.circumstances(run.key), status.why_absent(run), status.failed.get(run.key)
    return RunDetail(
        run=run.key,
        label=label,
        name=run.describe(),
        state="missing" if state == "running" else state,  # tables are of what has ended
        cause=None if why is None else why.cause,
        settings=run.model_dump(mode="json"),
        device=known.device,
        threads=known.threads,
        operations=known.operations,
        peak_bytes=known.peak_bytes,
        log=logs.tail(run.key, known.log if own is None else own.log),
    )


class _Logs:
    """The log files of lanes that lie on this machine."""

    def __init__(self, out: Folder) -> None:
        self._folder = local_place(out) / "logs"
        self._packs: dict[str, set[str]] = {}  # by run: every pack that it was ever in
        for pack, members in PackStore(out).recorded_packs().items():
            for key in members:
                self._packs.setdefault(key, set()).add(pack)
        self._records: dict[str, list[tuple[str, tuple[str, ...]]]] = {}

    def tail(self, key: str, name: str | None) -> tuple[str, ...]:
        """The last lines on the run's pack in the log of this name; none where it lies elsewhere."""
        if name is None:
            return ()
        name = Path(name).name  # a record cannot lead out of the folder
        if name not in self._records:
            self._records[name] = list(_by_pack(self._folder / name))
        found: tuple[str, ...] = ()
        for pack, lines in self._records[name]:
            if pack in self._packs.get(key, ()):
                found = lines
        return found[-MOST_LOG_LINES:]


def _by_pack(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The lines of a log from the start of each pack until the next one's, in their order."""
    if not path.is_file():
        return
    pack, lines = "", list[str]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := _PACK.search(line)) is not None:
            yield pack, tuple(lines)
            pack, lines = found[1], []
        lines.append(line)
    yield pack, tuple(lines)


_TOLD = ("epochs", "rounds_per_epoch", "batch_size", "lr", "lr_latent")


def collect_snapshot(study: StudyManifest, out: Folder) -> Folder:
    """The folder of the freshly collected tables, with the study's record beside them.

    All of it is of one moment: runs that finish meanwhile are collected the next time.
    """
    check_writable(out)
    with _alone(out):
        return _gather(study, out, StudyStatus.read(RunStore(out), study.runs))


def copy_tables(study: StudyManifest, out: Folder, into: Path, status: StudyStatus | None = None) -> None:
    """Copy the study's tables and record as of `status`, collected now if need be; by default, as of now.

    Nobody else collects meanwhile. Where `out` cannot be written its tables are taken as they are.
    """
    is_writable = not isinstance(out, Path) or os.access(out, os.W_OK)
    with _alone(out) if is_writable else nullcontext():
        if is_writable:
            _collect_stale(study, out, status or StudyStatus.read(RunStore(out), study.runs))
        tables = tables_folder(out, study.name)
        files = table_files(tables)
        if not files:
            raise ValueError(f"{tables}: no tables yet; `portal sweep collect` writes them")
        for name, path in files.items():
            (into / name).write_bytes(path.read_bytes())


def keep_part(study: StudyManifest, out: Folder, seeds: Collection[int]) -> Folder:
    """Keep the tables of a study's part, the runs of `seeds`, in a folder of their own, which is returned.

    The study's next launch in `out` puts its own tables in their place. They are collected now if need be.
    """
    part = out / f"{RESULTS_FOLDER}-seed-{'-'.join(map(str, sorted(set(seeds))))}"
    with _alone(out):
        _collect_stale(study, out, StudyStatus.read(RunStore(out), study.runs))
        tables = tables_folder(out, study.name)
        if tables != out / RESULTS_FOLDER:
            part = part / study.name
        contents = table_files(tables)
        for name, path in table_files(part).items():
            if name not in contents:
                path.unlink()
        for name, path in contents.items():
            write_bytes_atomic(part / name, path.read_bytes())
    return part


def is_stale(study: StudyManifest, out: Folder, status: StudyStatus | None = None) -> bool:
    """Whether the study's tables are not there, or are of another moment that matters to them."""
    status = status or StudyStatus.read(RunStore(out), study.runs)
    return read_stamp(tables_folder(out, study.name)) != _stamp(study, status, _search_of(study, out))


def describe(study: StudyManifest, out: Folder, status: StudyStatus) -> StudyInfo:
    """The study's record: facts, runs without results and why, notes on bases, devices that runs hold."""
    store = RunStore(out)
    done = set(status.done)
    absent = [_absent_run(run, study.labels[run.key], status) for run in study.runs if run.key not in done]
    counts = {"total": status.total, "done": len(done), "failed": len(status.failed) - len(status.left_out)}
    if status.left_out:
        counts["paused or stopped"] = len(status.left_out)
    counts["missing"] = status.total - len(done) - len(status.failed)
    precisions: dict[str, str] = {ref.name: ref.precision for run in study.runs for ref in run.bases}
    ended = status.failed.keys() - set(status.left_out)
    weights = {name: weights_note(name) for name in study.bases}
    notes = [f"{name}: {note}." for name, note in weights.items() if note is not None]
    known = {run.key: store.circumstances(run.key) for run in study.runs if run.key in done}
    notes += [f"{note}." for note in dict.fromkeys(note for each in known.values() for note in each.coverage)]
    return StudyInfo(
        facts={
            "study": study.name,
            "tasks": ", ".join(study.own_tasks or study.tasks),
            **_trained_tasks(study),
            "bases": {ref.name: ref.revision[:12] for run in study.runs for ref in run.bases},
            **({} if {*precisions.values()} == {"default"} else {"precision": precisions}),
            "seeds": ", ".join(str(seed) for seed in study.seeds),
            **_settings(study),
            "runs": ", ".join(f"{count} {name}" for name, count in counts.items()),
            "data": study.runs[0].data.data_hash[:12],
            **_provenance(status, store),
            **_circumstances(known.values()),
        },
        notes=tuple(notes),
        failed=tuple(run for run in absent if run.run in ended),
        missing=tuple(run for run in absent if run.run not in ended),
        workers={run.key: study.workers(run) for run in study.runs if study.workers(run) != 1},
        device_share=study.device_share,
        kinds=dict(study.kinds),
        own_tasks=study.own_tasks,
        source_tasks=_source_tasks(study),
        task_groups=dict(study.task_groups),
        latents_of={
            study.labels[run.key]: study.labels[run.latents]
            for run in study.runs
            if run.latents is not None and run.latents in study.labels
        },
    )


def _source_tasks(study: StudyManifest) -> dict[str, tuple[str, ...]]:
    """By label, the tasks that its runs build on, where these are not the study's own."""
    if not study.own_tasks:
        return {}
    found = {study.labels[run.key]: _built_on(run, study) for run in study.runs}
    return {label: tasks for label, tasks in found.items() if tasks}


def _built_on(run: RunConfig, study: StudyManifest) -> tuple[str, ...]:
    """What the source of a run was trained on, or a run without one that has rows of other tasks."""
    while run.source in study.by_key:
        run = study.by_key[run.source]
    known = run.data.tasks if run.spec.runs_on == "sources" else run.data.trained_tasks
    return known if set(known).isdisjoint(study.own_tasks) else ()


def _trained_tasks(study: StudyManifest) -> dict[str, Fact]:
    """What sources were trained on, by label, where that is not the study's own tasks."""
    counts: dict[str, str] = {}
    for run in study.runs:
        if run.spec.runs_on == "sources":
            kinds = tasks_by_kind(run.data.tasks, study.kinds)
            count = f"{len(run.data.tasks)} tasks" + (f" of {len(kinds)} kinds" if kinds else "")
            counts[study.labels[run.key]] = count
    return {"tasks of sources": counts} if study.own_tasks else {}


def _settings(study: StudyManifest) -> dict[str, Fact]:
    """How runs are trained, by their labels; those that are trained alike stand together.

    A label whose runs are trained in several ways has each of them, with the bases and rows of those runs.
    """
    trained = [(run, study.labels[run.key], _training(run, run.train)) for run in study.runs if run.train]
    ways: dict[str, set[str]] = {}
    for _, label, text in trained:
        ways.setdefault(label, set()).add(text)
    sizes: dict[str, dict[str, list[str]]] = {}  # by way and by the name of who is trained so
    for run, label, text in trained:
        several = len(ways[label]) > 1
        name = f"{label} on {'+'.join(ref.name for ref in run.bases)}" if several else label
        own = sizes.setdefault(text, {}).setdefault(name, [])
        size = "all" if run.data.size is None else str(run.data.size)
        if several and size not in own:
            own.append(size)
    told = {
        ", ".join(f"{name} ({'/'.join(own)} rows)" if own else name for name, own in names.items()): text
        for text, names in sizes.items()
    }
    return {"training": told} if told else {}


def _training(run: RunConfig, train: TrainConfig) -> str:
    """What a reader asks first, then all that is not at its default."""
    epochs = f"{train.epochs} epoch{'s' if train.epochs > 1 else ''} over the rows"
    if train.rounds_per_epoch is not None:
        epochs = f"{train.epochs} x {train.rounds_per_epoch} steps"
    parts = [epochs, f"batches of {train.batch_size}"]
    if not run.spec.teaches:
        parts.append(f"learning rate {train.lr:g}")
    if run.hypernet is not None and not run.spec.frozen_core:
        parts.append(f"learning rate of latents {train.lr_latent:g}")
    others = train.model_dump(exclude_defaults=True, exclude=set(_TOLD))
    return ", ".join([*parts, *(f"{name} {value}" for name, value in others.items())])


def _alone(out: Folder) -> AbstractContextManager[None]:
    return only_one(local_place(out) / ".collect.lock")


def _collect_stale(study: StudyManifest, out: Folder, status: StudyStatus) -> None:
    if is_stale(study, out, status):
        _gather(study, out, status)


def _gather(study: StudyManifest, out: Folder, status: StudyStatus) -> Folder:
    results = collect(study, out, set(status.done))  # refuses a folder without a finished run
    record_manifest(out, study)
    write_run_details(study, out, status, results)
    describe(study, out, status).write(results / STUDY_FILE)
    if (searched := _search_of(study, out)) is None:
        (results / SEARCH_FILE).unlink(missing_ok=True)
    else:
        searched.write(results / SEARCH_FILE)
    write_json_atomic(results / COLLECTED_FILE, _stamp(study, status, searched))
    return results


def _search_of(study: StudyManifest, out: Folder) -> SearchRecord | None:
    """The search in the folder, where the study is its trials or what it found best."""
    searched = read_search(out / SEARCH_FOLDER)
    is_its = searched is not None and study.name in (searched.name, f"{searched.name}-best")
    return searched if is_its else None


def _stamp(study: StudyManifest, status: StudyStatus, searched: SearchRecord | None) -> dict[str, Any]:
    """All that tables and record depend on: the study's manifest, which runs are done or failed, a search.

    Tables of an earlier version are made anew: they lack columns.
    """
    manifest = json.dumps(study.record().to_json(), sort_keys=True).encode()
    search = {}
    if searched is not None:
        search["search"] = hashlib.sha256(searched.model_dump_json().encode()).hexdigest()
    return search | {
        "schema": SCHEMA_VERSION,
        "details": RUNS.names,  # of the table of single runs
        "study": study.name,
        "manifest": hashlib.sha256(manifest).hexdigest(),
        "done": sorted(status.done),
        "failed": {key: {"cause": why.cause, "log": why.log} for key, why in status.failed.items()},
    }


def _absent_run(run: RunConfig, label: str, status: StudyStatus) -> AbsentRun:
    """The run with its own failure's cause and log, or with the reason why it was never tried."""
    own, why = status.failed.get(run.key), status.why_absent(run)
    return AbsentRun(
        **run_columns(run, label),
        cause=None if why is None else why.cause,
        log=None if own is None else own.log,
    )


def _provenance(status: StudyStatus, store: RunStore) -> dict[str, Fact]:
    """Versions of packages and commits of the code that the finished runs were trained with."""
    records = [store.provenance(key) for key in sorted(status.done)]
    packages = sorted({package for record in records for package in record["versions"]})
    return {
        "versions": {
            package: ", ".join(sorted({record["versions"].get(package, "unknown") for record in records}))
            for package in packages
        },
        "commit": ", ".join(sorted({describe_code(record["git"]) for record in records})),
    }


def _circumstances(known: Iterable[Circumstances]) -> dict[str, Fact]:
    """CPU threads of the finished runs, and the operations of their bases where these are not plain."""
    circumstances = list(known)
    threads = sorted({each.threads for each in circumstances if each.threads is not None})
    operations = sorted({name for each in circumstances for name in each.operations})
    facts: dict[str, Fact] = {}
    if threads:
        facts["CPU threads"] = ", ".join(map(str, threads))
    if operations not in ([], ["plain"]):
        facts["operations of bases"] = ", ".join(operations)
    return facts
